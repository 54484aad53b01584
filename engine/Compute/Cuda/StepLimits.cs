using System.Numerics;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>The largest step there can be: all memory that steps need is taken for it at the start, so that an engine that has started does not run out later.</summary>
/// <param name="Rows">Tokens of a step.</param>
/// <param name="Sequences">Of a step: slices, and rows of logits. As many as a recorded step of all that are allowed has, padding included.</param>
/// <param name="ContextTokens">Of a sequence.</param>
/// <param name="Units">Units of attention that are worked on at a time: those of a pool whose pages each belong to one sequence. Where sequences share pages a step may have more; it goes through them in several runs.</param>
internal sealed record StepLimits(int Rows, int Sequences, int ContextTokens, int Units)
{
    /// <param name="maxSequences">Asked for.</param>
    /// <param name="poolTokens">Tokens that the KV pool has room for; 0 where that is not known.</param>
    public static StepLimits Of(DecoderConfig config, int maxRows, int maxSequences, long poolTokens)
    {
        int sequences = Math.Min(maxRows, (int)BitOperations.RoundUpToPowerOf2((uint)maxSequences)), unit = StepKernels.UnitTokens(config.HeadStride);
        int context = (int)Math.Min(config.ContextLength, poolTokens > 0 ? poolTokens : long.MaxValue);
        long shared = (long)sequences * UnitsOf(context, unit), own = poolTokens > 0 ? poolTokens / unit + sequences : shared;
        return new StepLimits(maxRows, sequences, context, (int)BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(Math.Min(shared, own), UnitsOf(context, unit), 1 << 30)));
    }

    /// <summary>Units of the slices of one token of a step, where all sequences are as long as can be.</summary>
    public long MostUnits(int unitTokens) => (long)Sequences * UnitsOf(ContextTokens, unitTokens);

    /// <summary>Pages of all slices of a step, where all sequences are as long as can be.</summary>
    public long MostPages(KvLayout layout) => (long)Sequences * ((ContextTokens + layout.PageTokens - 1) / layout.PageTokens);

    private static int UnitsOf(int tokens, int unit) => (tokens + unit - 1) / unit;
}
