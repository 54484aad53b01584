using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Reference;

/// <summary>
/// The oracle of every backend: a whole decoder in double precision, token by token, with no pages, batches or threads. Slow by design.
/// </summary>
public sealed class ReferenceDecoder
{
    private readonly DecoderConfig _config;
    private readonly double[] _frequencies;
    private readonly double[] _embedding;
    private readonly double[] _output;
    private readonly double[] _finalNorm;
    private readonly Layer[] _layers;

    private ReferenceDecoder(DecoderConfig config, Checkpoint checkpoint)
    {
        _config = config;
        _frequencies = config.Rope.Frequencies(config.HeadDim);
        _embedding = Read(checkpoint.Matrix("model.embed_tokens.weight", config.VocabSize, config.Hidden));
        _output = config.TiedEmbeddings ? _embedding : Read(checkpoint.Matrix("lm_head.weight", config.VocabSize, config.Hidden));
        _finalNorm = Read(checkpoint.Vector("model.norm.weight", config.Hidden));
        _layers = [.. Enumerable.Range(0, config.Layers).Select(layer => ReadLayer(checkpoint, $"model.layers.{layer}."))];
    }

    /// <exception cref="ModelLoadException">As <see cref="CpuModelRunner.Load"/>.</exception>
    public static ReferenceDecoder Load(string folder)
    {
        var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(folder, "config.json")));
        using var checkpoint = Checkpoint.Open(folder);
        return new ReferenceDecoder(config, checkpoint);
    }

    /// <summary>[tokens][vocabSize]: the logits after each token.</summary>
    public IReadOnlyList<double[]> Logits(IReadOnlyList<int> tokens)
    {
        // [layer][kvHead]: the keys and values of the tokens so far.
        var keys = NewCache();
        var values = NewCache();
        var logits = new List<double[]>();
        for (int position = 0; position < tokens.Count; position++)
        {
            var x = _embedding.AsSpan(tokens[position] * _config.Hidden, _config.Hidden).ToArray();
            for (int layer = 0; layer < _layers.Length; layer++)
            {
                x = RunLayer(x, position, _layers[layer], _config.LayerWindows[layer], keys[layer], values[layer]);
            }

            var normed = ReferenceKernels.RmsNorm(x, _finalNorm, _config.NormEpsilon);
            logits.Add(ReferenceKernels.Multiply(_output, new double[_config.VocabSize], normed));
        }

        return logits;
    }

    private double[] RunLayer(double[] x, int position, Layer layer, int window, List<double[]>[] keys, List<double[]>[] values)
    {
        int headDim = _config.HeadDim;
        var normed = ReferenceKernels.RmsNorm(x, layer.AttentionNorm, _config.NormEpsilon);
        var queries = ReferenceKernels.Rotate(layer.Query.Apply(normed), headDim, position, _frequencies);
        var newKeys = ReferenceKernels.Rotate(layer.Key.Apply(normed), headDim, position, _frequencies);
        var newValues = layer.Value.Apply(normed);
        for (int head = 0; head < _config.KvHeads; head++)
        {
            keys[head].Add(newKeys[(head * headDim)..((head + 1) * headDim)]);
            values[head].Add(newValues[(head * headDim)..((head + 1) * headDim)]);
        }

        int hidden = Math.Max(0, position + 1 - window);
        double[] attended =
        [
            .. Enumerable.Range(0, _config.Heads).SelectMany(head => ReferenceKernels.Attend(
                queries[(head * headDim)..((head + 1) * headDim)],
                keys[head / _config.GroupSize][hidden..],
                values[head / _config.GroupSize][hidden..])),
        ];
        x = Add(x, layer.AttentionOutput.Apply(attended));
        normed = ReferenceKernels.RmsNorm(x, layer.FeedForwardNorm, _config.NormEpsilon);
        return Add(x, layer.Down.Apply(ReferenceKernels.SiluMultiply(layer.Gate.Apply(normed), layer.Up.Apply(normed))));
    }

    private static double[] Add(double[] x, double[] y) => [.. x.Zip(y, (a, b) => a + b)];

    private List<double[]>[][] NewCache() =>
        [.. Enumerable.Range(0, _config.Layers).Select(_ => Enumerable.Range(0, _config.KvHeads).Select(_ => new List<double[]>()).ToArray())];

    private Layer ReadLayer(Checkpoint checkpoint, string prefix)
    {
        var config = _config;
        return new Layer(
            Read(checkpoint.Vector(prefix + "input_layernorm.weight", config.Hidden)),
            ReadProjection(checkpoint, prefix + "self_attn.q_proj", config.QuerySize, config.Hidden, config.QkvBias),
            ReadProjection(checkpoint, prefix + "self_attn.k_proj", config.KvSize, config.Hidden, config.QkvBias),
            ReadProjection(checkpoint, prefix + "self_attn.v_proj", config.KvSize, config.Hidden, config.QkvBias),
            ReadProjection(checkpoint, prefix + "self_attn.o_proj", config.Hidden, config.QuerySize, config.OutputBias),
            Read(checkpoint.Vector(prefix + "post_attention_layernorm.weight", config.Hidden)),
            ReadProjection(checkpoint, prefix + "mlp.gate_proj", config.FeedForward, config.Hidden, config.FeedForwardBias),
            ReadProjection(checkpoint, prefix + "mlp.up_proj", config.FeedForward, config.Hidden, config.FeedForwardBias),
            ReadProjection(checkpoint, prefix + "mlp.down_proj", config.Hidden, config.FeedForward, config.FeedForwardBias));
    }

    private static Projection ReadProjection(Checkpoint checkpoint, string name, int outputs, int inputs, bool bias) =>
        new(Read(checkpoint.Matrix(name + ".weight", outputs, inputs)), bias ? Read(checkpoint.Vector(name + ".bias", outputs)) : new double[outputs]);

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

    private sealed record Projection(double[] Weights, double[] Bias)
    {
        public double[] Apply(double[] x) => ReferenceKernels.Multiply(Weights, Bias, x);
    }

    private sealed record Layer(
        double[] AttentionNorm,
        Projection Query,
        Projection Key,
        Projection Value,
        Projection AttentionOutput,
        double[] FeedForwardNorm,
        Projection Gate,
        Projection Up,
        Projection Down);
}
