namespace ScriptedServe.Host.Engines.Supervision;

/// <summary>Where the engine's program is and how it is started. It is copied beside the host when that is built; its assembly is never loaded here.</summary>
/// <param name="Dotnet">The dotnet executable this process runs under.</param>
/// <param name="Assembly">The engine's assembly.</param>
internal sealed record EngineBinary(string Dotnet, string Assembly)
{
    private const string AssemblyName = "ScriptedServe.Engine.dll";

    /// <summary>The engine's folder beside the host: <c>engine/</c>.</summary>
    public static string Folder { get; } = Path.Combine(AppContext.BaseDirectory, "engine");

    /// <exception cref="EngineStartException">It is not there.</exception>
    public static EngineBinary Locate()
    {
        var assembly = Path.Combine(Folder, AssemblyName);
        return File.Exists(assembly)
            ? new EngineBinary(DotnetProgram.Find(), assembly)
            : throw new EngineStartException($"The engine's program is not at {assembly}; building or publishing the host puts it there.");
    }
}
