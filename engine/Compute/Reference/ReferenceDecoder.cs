using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Reference;

/// <summary>
/// The oracle of every backend: a whole decoder in double precision, token by token, with no pages, batches or threads. Slow by design.
/// </summary>
public sealed class ReferenceDecoder
{
    private readonly DecoderConfig _config;
    private readonly double[] _embedding;
    private readonly double _embeddingScale;
    private readonly double[] _output;
    private readonly double[] _finalNorm;
    private readonly ReferenceBlock[] _blocks;

    private ReferenceDecoder(DecoderConfig config, Checkpoint checkpoint)
    {
        _config = config;
        var reader = new ReferenceWeights(config, checkpoint);
        _embedding = reader.Matrix(config.Names.Embedding, config.VocabSize, config.Hidden);
        _embeddingScale = Cpu.DecoderWeights.ScaleOfEmbeddings(config, checkpoint);
        _output = config.TiedEmbeddings ? _embedding : reader.Matrix(config.Names.Output, config.VocabSize, config.Hidden);
        _finalNorm = reader.Norm(config.Names.FinalNorm, config.Hidden);
        _blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => reader.Block(layer))];
    }

    /// <exception cref="ModelLoadException">As <see cref="CpuModelRunner.Load"/>.</exception>
    public static ReferenceDecoder Load(string folder)
    {
        var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(folder, "config.json")));
        using var checkpoint = Checkpoint.Open(folder);
        return new ReferenceDecoder(config with { Names = config.Names.In(checkpoint, config) }, checkpoint);
    }

    /// <summary>As <see cref="ModelDescription.ShortContext"/>.</summary>
    public int ShortContext => _config.ShortContext;

    /// <summary>[tokens][vocabSize]: the logits after each token.</summary>
    /// <param name="longContext">Computed as part of a sequence longer than <see cref="ShortContext"/>.</param>
    public IReadOnlyList<double[]> Logits(IReadOnlyList<int> tokens, bool longContext = false)
    {
        // [layer][kvHead]: the keys and values of the tokens so far.
        var keys = NewCache();
        var values = NewCache();
        var logits = new List<double[]>();
        for (int position = 0; position < tokens.Count; position++)
        {
            double[] x = [.. _embedding.AsSpan(tokens[position] * _config.Hidden, _config.Hidden).ToArray().Select(value => value * _embeddingScale)];
            for (int layer = 0; layer < _blocks.Length; layer++)
            {
                x = RunBlock(x, position, longContext, layer, keys[layer], values[layer]);
            }

            var normed = ReferenceKernels.RmsNorm(x, _finalNorm, _config.NormEpsilon);
            logits.Add(ReferenceKernels.SoftCap(ReferenceKernels.Multiply(_output, new double[_config.VocabSize], normed), _config.LogitSoftCap));
        }

        return logits;
    }

    private double[] RunBlock(double[] x, int position, bool longContext, int layer, List<double[]>[] keys, List<double[]>[] values)
    {
        var (block, description) = (_blocks[layer], _config.Blocks[layer]);
        int headDim = _config.HeadDim;
        var normed = ReferenceKernels.RmsNorm(x, block.AttentionNorm, _config.NormEpsilon);
        var qkv = block.Qkv.Apply(normed);
        double[] Rotated(int begin, double[]? norm)
        {
            var head = qkv[begin..(begin + headDim)];
            head = norm is null ? head : ReferenceKernels.RmsNorm(head, norm, _config.NormEpsilon);
            return ReferenceKernels.Rotate(head, headDim, position, description.Rope.For(longContext), description.Rope.Magnitude);
        }

        for (int head = 0; head < _config.KvHeads; head++)
        {
            keys[head].Add(Rotated(_config.QuerySize + head * headDim, block.KeyNorm));
            int value = _config.QuerySize + _config.KvSize + head * headDim;
            values[head].Add(qkv[value..(value + headDim)]);
        }

        int hidden = Math.Max(0, position + 1 - description.Window);
        double[] attended =
        [
            .. Enumerable.Range(0, _config.Heads).SelectMany(head => ReferenceKernels.Attend(
                Rotated(head * headDim, block.QueryNorm),
                keys[head / _config.GroupSize][hidden..],
                values[head / _config.GroupSize][hidden..],
                _config.AttentionScale,
                _config.AttentionSoftCap)),
        ];
        x = Add(x, block.AttentionOutput.Apply(attended), block.PostAttentionNorm);
        normed = ReferenceKernels.RmsNorm(x, block.FeedForwardNorm, _config.NormEpsilon);
        return Add(x, FeedForward(block, description.Experts, normed), block.PostFeedForwardNorm);
    }

    private double[] FeedForward(ReferenceBlock block, ExpertsConfig? experts, double[] x)
    {
        double[] Apply(ReferenceFeedForward part)
        {
            var gateUp = part.GateUp.Apply(x);
            return part.Down.Apply(ReferenceKernels.ActivateMultiply(_config.Activation, gateUp[..(gateUp.Length / 2)], gateUp[(gateUp.Length / 2)..]));
        }

        if (experts is null)
        {
            return Apply(block.FeedForwards[0]);
        }

        var probabilities = ReferenceKernels.Softmax(block.Router!.Apply(x));
        int[] chosen = [.. Enumerable.Range(0, experts.Count).OrderByDescending(expert => probabilities[expert]).Take(experts.Chosen)];
        double sum = experts.Renormalized ? chosen.Sum(expert => probabilities[expert]) : 1;
        var result = new double[x.Length];
        foreach (int expert in chosen)
        {
            var output = Apply(block.FeedForwards[expert]);
            result = [.. result.Select((value, i) => value + probabilities[expert] / sum * output[i])];
        }

        return result;
    }

    private double[] Add(double[] x, double[] y, double[]? norm)
    {
        y = norm is null ? y : ReferenceKernels.RmsNorm(y, norm, _config.NormEpsilon);
        return [.. x.Zip(y, (a, b) => a + b)];
    }

    private List<double[]>[][] NewCache() =>
        [.. Enumerable.Range(0, _config.Layers).Select(_ => Enumerable.Range(0, _config.KvHeads).Select(_ => new List<double[]>()).ToArray())];
}
