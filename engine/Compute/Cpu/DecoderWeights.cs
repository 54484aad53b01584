using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>One block's weights. Projections that read the same input are one matrix, their outputs one after the other.</summary>
internal sealed class LayerWeights : IDisposable
{
    public required NativeBuffer AttentionNorm { get; init; }

    /// <summary>[(heads + 2 kvHeads) * headDim, hidden]: queries, keys, values.</summary>
    public required PackedMatrix Qkv { get; init; }

    /// <summary>[hidden, heads * headDim].</summary>
    public required PackedMatrix AttentionOutput { get; init; }

    public required NativeBuffer FeedForwardNorm { get; init; }

    /// <summary>[2 * feedForward, hidden]: gate, up.</summary>
    public required PackedMatrix GateUp { get; init; }

    /// <summary>[hidden, feedForward].</summary>
    public required PackedMatrix Down { get; init; }

    public void Dispose()
    {
        AttentionNorm.Dispose();
        Qkv.Dispose();
        AttentionOutput.Dispose();
        FeedForwardNorm.Dispose();
        GateUp.Dispose();
        Down.Dispose();
    }
}

/// <summary>A model's weights in memory of this process, repacked for the kernels; the checkpoint can be closed after loading.</summary>
internal sealed class DecoderWeights : IDisposable
{
    private DecoderWeights(PackedMatrix embedding, LayerWeights[] layers, NativeBuffer finalNorm, PackedMatrix output)
    {
        Embedding = embedding;
        Layers = layers;
        FinalNorm = finalNorm;
        Output = output;
    }

    /// <summary>[vocab, hidden].</summary>
    public PackedMatrix Embedding { get; }

    public IReadOnlyList<LayerWeights> Layers { get; }

    public NativeBuffer FinalNorm { get; }

    /// <summary>[vocab, hidden]; <see cref="Embedding"/> itself where the two are tied.</summary>
    public PackedMatrix Output { get; }

    /// <summary>Bytes of weights that computing one token with its logits reads.</summary>
    public long BytesPerToken =>
        Output.Bytes + Layers.Sum(layer => layer.Qkv.Bytes + layer.AttentionOutput.Bytes + layer.GateUp.Bytes + layer.Down.Bytes);

    /// <exception cref="ModelLoadException">A tensor is missing or has the wrong shape or type.</exception>
    public static DecoderWeights Load(DecoderConfig config, Checkpoint checkpoint, WorkerTeam team)
    {
        var loader = new Loader(checkpoint, team);
        try
        {
            var embedding = loader.Matrix(["model.embed_tokens"], [config.VocabSize], config.Hidden, bias: false);
            var layers = new LayerWeights[config.Layers];
            for (int layer = 0; layer < layers.Length; layer++)
            {
                layers[layer] = LoadLayer(loader, config, $"model.layers.{layer}.");
            }

            var finalNorm = loader.Vector("model.norm.weight", config.Hidden);
            var output = config.TiedEmbeddings ? embedding : loader.Matrix(["lm_head"], [config.VocabSize], config.Hidden, bias: false);
            return new DecoderWeights(embedding, layers, finalNorm, output);
        }
        catch
        {
            loader.DisposeLoaded();
            throw;
        }
    }

    public void Dispose()
    {
        Embedding.Dispose();
        Output.Dispose();
        FinalNorm.Dispose();
        foreach (var layer in Layers)
        {
            layer.Dispose();
        }
    }

    private static LayerWeights LoadLayer(Loader loader, DecoderConfig config, string prefix)
    {
        string attention = prefix + "self_attn.";
        string feedForward = prefix + "mlp.";
        return new LayerWeights
        {
            AttentionNorm = loader.Vector(prefix + "input_layernorm.weight", config.Hidden),
            Qkv = loader.Matrix(
                [attention + "q_proj", attention + "k_proj", attention + "v_proj"],
                [config.QuerySize, config.KvSize, config.KvSize],
                config.Hidden,
                config.QkvBias),
            AttentionOutput = loader.Matrix([attention + "o_proj"], [config.Hidden], config.QuerySize, config.OutputBias),
            FeedForwardNorm = loader.Vector(prefix + "post_attention_layernorm.weight", config.Hidden),
            GateUp = loader.Matrix(
                [feedForward + "gate_proj", feedForward + "up_proj"],
                [config.FeedForward, config.FeedForward],
                config.Hidden,
                config.FeedForwardBias),
            Down = loader.Matrix([feedForward + "down_proj"], [config.Hidden], config.FeedForward, config.FeedForwardBias),
        };
    }

    /// <summary>Reads tensors and remembers what it made, so that a failure half-way returns the memory at once.</summary>
    private sealed class Loader(Checkpoint checkpoint, WorkerTeam team)
    {
        private readonly List<IDisposable> _loaded = [];

        public PackedMatrix Matrix(string[] names, int[] rows, int columns, bool bias)
        {
            // Every tensor is found and checked before any is packed.
            TensorView[] parts = [.. names.Select((name, i) => checkpoint.Matrix(name + ".weight", rows[i], columns))];
            TensorView[] biases = bias ? [.. names.Select((name, i) => checkpoint.Vector(name + ".bias", rows[i]))] : [];
            return Keep(PackedMatrix.Pack(parts, biases, (panels, pack) => team.For(panels, (panel, _) => pack(panel))));
        }

        public unsafe NativeBuffer Vector(string name, int length)
        {
            var vector = checkpoint.Vector(name, length);
            var buffer = Keep(NativeBuffer.OfFloats(length));
            vector.ReadRow(0, new Span<float>(buffer.Floats, length));
            return buffer;
        }

        public void DisposeLoaded() => _loaded.ForEach(item => item.Dispose());

        private T Keep<T>(T item)
            where T : IDisposable
        {
            _loaded.Add(item);
            return item;
        }
    }
}
