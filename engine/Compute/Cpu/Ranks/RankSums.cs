using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu.Ranks;

/// <summary>
/// Where the projections into the residual stream write: memory that all ranks share. Two that follow each other write different memory, as
/// <see cref="SumRelay"/> demands, and a rank reads one before it comes to the next but one.
/// </summary>
internal sealed class RankSums : IDisposable
{
    public RankSums(DecoderConfig config, int maxRows)
    {
        int slots = maxRows * Slots(config);
        int stride = DecoderStep.Padded(config.Hidden);
        Attention = NativeBuffer.OfFloats((long)maxRows * stride);
        FeedForward = NativeBuffer.OfFloats(config.Blocks.Any(block => block.Experts is null) ? (long)maxRows * stride : 0);
        Experts = NativeBuffer.OfFloats((long)slots * stride);
    }

    /// <summary>[rows, hidden].</summary>
    public NativeBuffer Attention { get; }

    /// <summary>[rows, hidden], of dense blocks.</summary>
    public NativeBuffer FeedForward { get; }

    /// <summary>[slots, hidden], of experts; a slot is a row at one of its experts.</summary>
    public NativeBuffer Experts { get; }

    /// <summary>The most blocks in which products are written here.</summary>
    public static int MaxBlocks(DecoderConfig config, int maxRows)
    {
        int experts = config.Blocks.Max(block => block.Experts?.Count ?? 0);
        return GemmLoop.MaxItems(config.Hidden, maxRows * Math.Max(1, Slots(config)), Math.Max(1, experts));
    }

    public void Dispose()
    {
        Attention.Dispose();
        FeedForward.Dispose();
        Experts.Dispose();
    }

    private static int Slots(DecoderConfig config) => config.Blocks.Max(block => block.Experts?.Chosen ?? 0);
}

/// <summary>What a rank has to do with the others.</summary>
/// <param name="Share">What the rank has of the model.</param>
/// <param name="Relay">Its place in the sums over ranks; null if it is the only one.</param>
/// <param name="Sums">Shared by all.</param>
internal sealed record RankPlace(RankShare Share, RankThreads? Threads, SumRelay.Place? Relay, RankSums Sums)
{
    /// <summary>Waits until all ranks are here.</summary>
    public void Meet() => Threads?.Meet();
}
