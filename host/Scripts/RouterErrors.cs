namespace ScriptedServe.Host.Scripts;

/// <summary>Kinds of refusal by the catalog; each has its HTTP status.</summary>
public enum RouterRefusal
{
    /// <summary>400: a name, a version or an option is malformed.</summary>
    Malformed,

    /// <summary>404: no such router or version.</summary>
    NotFound,

    /// <summary>409: it is in use, or nothing to roll back to.</summary>
    Conflict,

    /// <summary>413: the text is larger than allowed.</summary>
    TooLarge,

    /// <summary>503: too many compiles wait; try again.</summary>
    Busy,

    /// <summary>503: the store of versions cannot be reached or written.</summary>
    StoreUnavailable,
}

/// <summary>The catalog refuses a management call; nothing has changed.</summary>
public sealed class RouterRefusedException(RouterRefusal refusal, string code, string message) : Exception(message)
{
    public RouterRefusal Refusal { get; } = refusal;

    /// <summary>For programs: <c>router_in_use</c> and the like.</summary>
    public string Code { get; } = code;
}

/// <summary>A version compiled but could not be loaded: a top-level statement or OnLoad threw or did not end.</summary>
internal sealed class RouterLoadException(RouterDiagnostic diagnostic, Exception? inner = null) : Exception(diagnostic.Message, inner)
{
    public RouterDiagnostic Diagnostic { get; } = diagnostic;
}
