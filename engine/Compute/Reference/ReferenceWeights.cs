using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Reference;

/// <summary>A matrix <c>[bias.Length, inputs]</c> and its bias.</summary>
internal sealed record ReferenceProjection(double[] Weights, double[] Bias)
{
    public double[] Apply(double[] x) => ReferenceKernels.Multiply(Weights, Bias, x);
}

internal sealed record ReferenceFeedForward(ReferenceProjection GateUp, ReferenceProjection Down);

/// <summary>One block's weights; null where the model has no such part.</summary>
internal sealed record ReferenceBlock(
    double[] AttentionNorm,
    ReferenceProjection Qkv,
    double[]? QueryNorm,
    double[]? KeyNorm,
    ReferenceProjection AttentionOutput,
    double[]? PostAttentionNorm,
    double[] FeedForwardNorm,
    ReferenceProjection? Router,
    ReferenceFeedForward[] FeedForwards,
    double[]? PostFeedForwardNorm);

/// <summary>Reads a checkpoint in double precision.</summary>
internal sealed class ReferenceWeights(DecoderConfig config, Checkpoint checkpoint)
{
    private readonly TensorNames _names = config.Names;

    public ReferenceBlock Block(int layer)
    {
        string block = _names.Block(layer);
        var experts = config.Blocks[layer].Experts;
        int[] heads = [config.QuerySize, config.KvSize, config.KvSize];
        return new ReferenceBlock(
            Norm(block + _names.AttentionNorm, config.Hidden),
            Projection(block, _names.Qkv, _names.Qkv.Count == 1 ? [heads.Sum()] : heads, config.Hidden, config.QkvBias),
            config.QueryKeyNorm ? Norm(block + _names.QueryNorm, config.HeadDim) : null,
            config.QueryKeyNorm ? Norm(block + _names.KeyNorm, config.HeadDim) : null,
            Projection(block, [_names.AttentionOutput], [config.Hidden], config.QuerySize, config.OutputBias),
            config.PostNorms ? Norm(block + _names.PostAttentionNorm, config.Hidden) : null,
            Norm(block + _names.FeedForwardNorm, config.Hidden),
            experts is null ? null : Projection(block, [_names.Router], [experts.Count], config.Hidden, bias: false),
            experts is null
                ? [FeedForward(block, _names.GateUp, _names.Down, config.FeedForward, config.FeedForwardBias)]
                : [.. Enumerable.Range(0, experts.Count).Select(expert =>
                    FeedForward($"{block}{_names.Experts}{expert}", _names.ExpertGateUp, _names.ExpertDown, experts.FeedForward, bias: false))],
            config.PostNorms ? Norm(block + _names.PostFeedForwardNorm, config.Hidden) : null);
    }

    public double[] Norm(string name, int length) => [.. Read(checkpoint.Vector(name + ".weight", length)).Select(value => value + (config.NormsAddOne ? 1 : 0))];

    public double[] Matrix(string name, int outputs, int inputs) => Read(checkpoint.Matrix(name + ".weight", outputs, inputs));

    private ReferenceFeedForward FeedForward(string prefix, IReadOnlyList<string> gateUp, string down, int width, bool bias) => new(
        Projection(prefix, gateUp, gateUp.Count == 1 ? [2 * width] : [width, width], config.Hidden, bias),
        Projection(prefix, [down], [config.Hidden], width, bias));

    private ReferenceProjection Projection(string prefix, IReadOnlyList<string> names, int[] outputs, int inputs, bool bias) => new(
        [.. names.SelectMany((name, i) => Matrix(prefix + name, outputs[i], inputs))],
        [.. names.SelectMany((name, i) => bias ? Read(checkpoint.Vector($"{prefix}{name}.bias", outputs[i])) : new double[outputs[i]])]);

    private static double[] Read(TensorView tensor)
    {
        var result = new double[(long)tensor.Rows * tensor.Columns];
        var row = new float[tensor.Columns];
        for (int i = 0; i < tensor.Rows; i++)
        {
            tensor.ReadRow(i, row);
            for (int j = 0; j < row.Length; j++)
            {
                result[(long)i * row.Length + j] = row[j];
            }
        }

        return result;
    }
}
