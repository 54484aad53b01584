namespace ScriptedServe.Host.Scripts;

/// <summary>Reads and compiles routers: in this process, or in one of its own.</summary>
public interface IScriptCompiler
{
    /// <summary>Reads a router's text and what it loads; what cannot be followed is among the source's refusals.</summary>
    /// <param name="name">The router's name; diagnostics call its file <c>name.csx</c>.</param>
    Task<ScriptSource> ReadAsync(string name, string text, CancellationToken cancellationToken);

    /// <summary>Compiles; errors in the script, and of the compiler, are diagnostics and never exceptions.</summary>
    /// <param name="assemblyName">Names the image in stack traces and dumps.</param>
    Task<CompiledScript> CompileAsync(ScriptSource source, string assemblyName, CancellationToken cancellationToken);
}
