using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute;

/// <summary>What every runner checks of a step before it computes.</summary>
/// <param name="shards">That the pool has.</param>
/// <param name="limit">Names <paramref name="maxBatchTokens"/> in errors.</param>
internal sealed class StepRules(ModelDescription model, KvLayout layout, int maxBatchTokens, string limit, int shards = 1)
{
    /// <summary>Checks a step and returns how many slices want logits.</summary>
    /// <exception cref="ArgumentException">See <see cref="CpuModelRunner.Forward"/>.</exception>
    public int Check(ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<float> logits)
    {
        int logitRows = Check(slices, pool);
        return logits.Length == (long)logitRows * model.VocabSize
            ? logitRows
            : throw new ArgumentException($"logits has {logits.Length} elements; {logitRows} slices want {model.VocabSize} each", nameof(logits));
    }

    /// <summary>The same without logits.</summary>
    /// <param name="choices">Of the step launched before.</param>
    public int Check(ReadOnlySpan<StepSlice> slices, KvPool pool, int choices = 0)
    {
        ArgumentNullException.ThrowIfNull(pool);
        if (pool.Layout != layout)
        {
            throw new ArgumentException($"the pool's layout is {pool.Layout}, the model's {layout}", nameof(pool));
        }

        if (pool.Shards != shards)
        {
            throw new ArgumentException($"the pool has {pool.Shards} shards; the model, as it is divided, wants {shards}", nameof(pool));
        }

        if (slices.IsEmpty)
        {
            throw new ArgumentException("a step needs at least one slice", nameof(slices));
        }

        int logitRows = 0;
        long tokens = 0;
        for (int i = 0; i < slices.Length; i++)
        {
            CheckSlice(i, slices[i], pool.Pages, choices);
            tokens += slices[i].Count;
            logitRows += slices[i].WantsLogits ? 1 : 0;
        }

        if (tokens > maxBatchTokens)
        {
            throw new ArgumentException($"the step has {tokens} tokens; {limit} is {maxBatchTokens}", nameof(slices));
        }

        return logitRows;
    }

    private void CheckSlice(int index, in StepSlice slice, int poolPages, int choices)
    {
        if (slice.Count == 0)
        {
            throw new ArgumentException($"slice {index} has no tokens", nameof(slice));
        }

        if (slice.Choice is { } choice && ((uint)choice >= (uint)choices || slice.Count != 1))
        {
            throw new ArgumentException($"slice {index} has {slice.Count} tokens, by choice {choice} of the step before, which had {choices} choices", nameof(slice));
        }

        long end = (long)slice.Position + slice.Count;
        if (slice.Position < 0 || end > model.ContextLength)
        {
            throw new ArgumentException(
                $"slice {index} covers positions [{slice.Position}, {end}); the model's context is [0, {model.ContextLength})", nameof(slice));
        }

        foreach (int token in slice.Tokens.Span)
        {
            if ((uint)token >= (uint)model.VocabSize)
            {
                throw new ArgumentException($"slice {index} has token id {token}; the vocabulary is 0..{model.VocabSize - 1}", nameof(slice));
            }
        }

        long neededPages = (end + layout.PageTokens - 1) / layout.PageTokens;
        if (slice.Pages.Length < neededPages)
        {
            throw new ArgumentException(
                $"slice {index} has a block table of {slice.Pages.Length} pages; {end} positions at {layout.PageTokens} a page need {neededPages}",
                nameof(slice));
        }

        foreach (int page in slice.Pages.Span[..(int)neededPages])
        {
            if ((uint)page >= (uint)poolPages)
            {
                throw new ArgumentException($"slice {index} has page {page}; the pool has pages 0..{poolPages - 1}", nameof(slice));
            }
        }
    }
}
