using ScriptedServe.Engine.Compute;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>A type of weights, and the files that both sides have of it.</summary>
/// <param name="Ours">How ours keeps them.</param>
/// <param name="Wide">The Hugging Face folder that ours loads is in f32, else in bf16.</param>
/// <param name="Gguf">The type of theirs.</param>
internal sealed record WeightKind(string Name, WeightFormat Ours, bool Wide, GgufType Gguf)
{
    public static IReadOnlyList<WeightKind> All { get; } =
    [
        new("f32", WeightFormat.Auto, true, GgufType.F32),
        new("bf16", WeightFormat.Auto, false, GgufType.BF16),
        new("int8", WeightFormat.Int8, false, GgufType.Q8),
    ];
}
