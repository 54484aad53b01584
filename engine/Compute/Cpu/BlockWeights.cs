using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>A gated feed-forward: a whole one, or one expert.</summary>
/// <param name="GateUp">[2 * feedForward, hidden]: gate, up; of a rank its part of both.</param>
/// <param name="Down">[hidden, feedForward]; of a rank its inputs.</param>
internal sealed record FeedForwardWeights(PackedMatrix GateUp, PackedMatrix Down)
{
    public long Bytes => GateUp.Bytes + Down.Bytes;

    public static FeedForwardWeights LoadDense(WeightLoader loader, DecoderConfig config, string block)
    {
        var names = config.Names;
        return new FeedForwardWeights(
            loader.Matrix(block, names.GateUp, [config.FeedForward, config.FeedForward], config.Hidden, config.FeedForwardBias, MatrixCut.Outputs(loader.Share.Unit)),
            loader.Matrix(block, [names.Down], [config.Hidden], config.FeedForward, config.FeedForwardBias, MatrixCut.Inputs(loader.Share.Unit)));
    }

    public static FeedForwardWeights LoadExpert(WeightLoader loader, DecoderConfig config, ExpertsConfig experts, string block, int expert)
    {
        string prefix = $"{block}{config.Names.Experts}{expert}";
        return new FeedForwardWeights(
            loader.Matrix(prefix, config.Names.ExpertGateUp, [experts.FeedForward, experts.FeedForward], config.Hidden, bias: false, MatrixCut.Outputs(loader.Share.Unit)),
            loader.Matrix(prefix, [config.Names.ExpertDown], [config.Hidden], experts.FeedForward, bias: false, MatrixCut.Inputs(loader.Share.Unit)));
    }
}

/// <summary>One block's weights, or a rank's part of them. Projections that read the same input are one matrix, their outputs one after the other. Owned by the loader's owner.</summary>
internal sealed class BlockWeights
{
    public required NativeBuffer AttentionNorm { get; init; }

    /// <summary>[(heads + 2 kvHeads) * headDim, hidden]: queries, keys, values.</summary>
    public required PackedMatrix Qkv { get; init; }

    /// <summary>[headDim]; null where queries and keys are not normed.</summary>
    public NativeBuffer? QueryNorm { get; init; }

    /// <summary>[headDim]; null as <see cref="QueryNorm"/>.</summary>
    public NativeBuffer? KeyNorm { get; init; }

    /// <summary>[hidden, heads * headDim].</summary>
    public required PackedMatrix AttentionOutput { get; init; }

    /// <summary>[hidden]; null where nothing is normed on its way to the residual stream.</summary>
    public NativeBuffer? PostAttentionNorm { get; init; }

    public required NativeBuffer FeedForwardNorm { get; init; }

    /// <summary>[hidden]; null as <see cref="PostAttentionNorm"/>.</summary>
    public NativeBuffer? PostFeedForwardNorm { get; init; }

    /// <summary>[experts, hidden], in the folder's own type: it is small, and a rounded one chooses other experts. Null in a dense block.</summary>
    public PackedMatrix? Router { get; init; }

    /// <summary>The feed-forward of a dense block, else the experts.</summary>
    public required IReadOnlyList<FeedForwardWeights> FeedForwards { get; init; }

    /// <param name="chosen">Feed-forwards that one token reads.</param>
    public long BytesPerToken(int chosen) =>
        Qkv.Bytes + AttentionOutput.Bytes + (Router?.Bytes ?? 0) + chosen * FeedForwards[0].Bytes;

    public static BlockWeights Load(WeightLoader loader, DecoderConfig config, int layer)
    {
        var names = config.Names;
        string block = names.Block(layer);
        NativeBuffer Norm(string name, int length) => loader.Vector($"{block}{name}.weight", length, config.NormsAddOne ? 1 : 0);
        var experts = config.Blocks[layer].Experts;
        return new BlockWeights
        {
            AttentionNorm = Norm(names.AttentionNorm, config.Hidden),
            Qkv = loader.Matrix(block, names.Qkv, [config.QuerySize, config.KvSize, config.KvSize], config.Hidden, config.QkvBias, MatrixCut.Outputs(config.HeadDim)),
            QueryNorm = config.QueryKeyNorm ? Norm(names.QueryNorm, config.HeadDim) : null,
            KeyNorm = config.QueryKeyNorm ? Norm(names.KeyNorm, config.HeadDim) : null,
            AttentionOutput = loader.Matrix(block, [names.AttentionOutput], [config.Hidden], config.QuerySize, config.OutputBias, MatrixCut.Inputs(config.HeadDim)),
            PostAttentionNorm = config.PostNorms ? Norm(names.PostAttentionNorm, config.Hidden) : null,
            FeedForwardNorm = Norm(names.FeedForwardNorm, config.Hidden),
            PostFeedForwardNorm = config.PostNorms ? Norm(names.PostFeedForwardNorm, config.Hidden) : null,
            Router = experts is null ? null : loader.Matrix(block, [names.Router], [experts.Count], config.Hidden, bias: false, exact: true),
            FeedForwards = experts is null
                ? [FeedForwardWeights.LoadDense(loader, config, block)]
                : [.. Enumerable.Range(0, experts.Count).Select(expert => FeedForwardWeights.LoadExpert(loader, config, experts, block, expert))],
        };
    }
}
