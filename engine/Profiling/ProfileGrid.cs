namespace ScriptedServe.Engine.Profiling;

/// <summary>What is to be measured: every chunk and every batch at every context.</summary>
/// <param name="Chunks">Tokens of a prompt computed in a step, ascending.</param>
/// <param name="Contexts">Tokens before them, ascending; 0 is the beginning.</param>
/// <param name="Batches">Sequences that decode in a step, ascending.</param>
public sealed record ProfileGrid(IReadOnlyList<int> Chunks, IReadOnlyList<int> Contexts, IReadOnlyList<int> Batches)
{
    private static readonly int[] s_chunks = [32, 128, 512];
    private static readonly int[] s_contexts = [0, 256, 1024, 4096, 16384];
    private static readonly int[] s_batches = [1, 4, 16, 64];

    /// <summary>The usual steps as far as a model and its settings go.</summary>
    public static ProfileGrid Within(int contextLength, int maxBatchTokens, int maxSequences)
    {
        var most = Math.Min(maxBatchTokens, contextLength);
        int[] chunks = [.. s_chunks.Where(chunk => chunk <= most)];
        return new ProfileGrid(
            chunks.Length > 0 ? chunks : [most],
            [.. s_contexts.Where(context => context < contextLength)],
            [.. s_batches.Where(batch => batch <= Math.Min(maxSequences, maxBatchTokens))]);
    }

    /// <summary>What of the grid the model or its settings can never do, as an error each.</summary>
    public IEnumerable<string> Errors(int contextLength, int maxBatchTokens, int maxSequences) =>
    [
        .. Chunks.Where(chunk => chunk > maxBatchTokens).Select(chunk => $"--chunks {chunk} is more than a step computes (--max-batch-tokens {maxBatchTokens})"),
        .. Chunks.Where(chunk => chunk > contextLength).Select(chunk => $"--chunks {chunk} is more than the model's context of {contextLength} tokens"),
        .. Contexts.Where(context => context >= contextLength).Select(context => $"--contexts {context} leaves no token of the model's context of {contextLength}"),
        .. Batches.Where(batch => batch > Math.Min(maxSequences, maxBatchTokens)).Select(batch =>
            $"--batches {batch} is more than an engine computes at a time (--max-sequences {maxSequences}, --max-batch-tokens {maxBatchTokens})"),
    ];
}
