namespace ScriptedServe.Host.Scripts;

/// <summary>What a compile gave.</summary>
/// <param name="Assembly">The emitted image; null if there were errors.</param>
/// <param name="Symbols">Its portable PDB, with the author's lines.</param>
/// <param name="FactoryType">The type whose static <paramref name="FactoryMethod"/> makes an instance of the script.</param>
/// <param name="HasShortTurns">See <see cref="ShortTurns"/>.</param>
/// <param name="Diagnostics">Errors and warnings, in the order of files and lines.</param>
public sealed record CompiledScript(
    ScriptSource Source, byte[]? Assembly, byte[]? Symbols, string? FactoryType, string? FactoryMethod, bool HasShortTurns, IReadOnlyList<RouterDiagnostic> Diagnostics)
{
    /// <summary>Of a text that could not be compiled at all.</summary>
    internal static CompiledScript Failed(ScriptSource source, string why) => new(
        source, null, null, null, null, false, [new RouterDiagnostic(source.Main.Path, 0, 0, ScriptDiagnosticIds.CompilerFailed, DiagnosticSeverity.Error, why)]);
}
