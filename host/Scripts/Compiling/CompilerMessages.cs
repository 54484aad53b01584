using System.Text.Json.Serialization;

namespace ScriptedServe.Host.Scripts;

/// <summary>The first line to a compiler's process: what it needs to know of this host.</summary>
/// <param name="Folder">The scripts folder, absolute.</param>
/// <param name="Rules">As in <see cref="ScriptApiRules.Entries"/>.</param>
internal sealed record CompilerSetup(string Folder, ScriptLimits Limits, IReadOnlyDictionary<string, ApiRule?> Rules);

/// <summary>One thing to do, a line of JSON each: <paramref name="Text"/> is to be read under <paramref name="Name"/>, or else <paramref name="Source"/> to be compiled.</summary>
/// <param name="Name">The router's name when reading; when compiling, the image's.</param>
internal sealed record CompilerRequest(string Name, string? Text = null, ScriptSource? Source = null);

/// <summary>The answer, a line of JSON. A source that was read, or else the parts of a <see cref="CompiledScript"/>, or else why there is neither.</summary>
internal sealed record CompilerAnswer
{
    public ScriptSource? Source { get; init; }

    public byte[]? Assembly { get; init; }

    public byte[]? Symbols { get; init; }

    public string? FactoryType { get; init; }

    public string? FactoryMethod { get; init; }

    public bool HasShortTurns { get; init; }

    public IReadOnlyList<RouterDiagnostic> Diagnostics { get; init; } = [];

    public string? Failure { get; init; }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(CompilerSetup))]
[JsonSerializable(typeof(CompilerRequest))]
[JsonSerializable(typeof(CompilerAnswer))]
internal sealed partial class CompilerJson : JsonSerializerContext;
