namespace ScriptedServe.Scripting.Editor;

/// <summary>
/// The top-level names of a router script, for editors: <c>scripts/editor.rsp</c> imports this class, so that completion and documentation
/// work without a host. In a host the same names come from <see cref="RouterGlobals"/>; this class is never used there.
/// </summary>
public static class RouterNames
{
    /// <inheritdoc cref="RouterGlobals.Fleet"/>
    public static RouterFleet Fleet => throw OnlyInAnEditor();

    /// <inheritdoc cref="RouterGlobals.Traffic"/>
    public static RouterTraffic Traffic => throw OnlyInAnEditor();

    /// <inheritdoc cref="RouterGlobals.State"/>
    public static RouterState State => throw OnlyInAnEditor();

    /// <inheritdoc cref="RouterGlobals.Log"/>
    public static RouterLog Log => throw OnlyInAnEditor();

    /// <inheritdoc cref="RouterGlobals.Time"/>
    public static TimeProvider Time => throw OnlyInAnEditor();

    /// <inheritdoc cref="RouterGlobals.Options"/>
    public static RouterOptions Options => throw OnlyInAnEditor();

    private static InvalidOperationException OnlyInAnEditor() => new("Routers run in a host, which gives them these names.");
}
