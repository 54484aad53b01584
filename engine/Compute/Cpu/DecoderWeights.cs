using ScriptedServe.Engine.Compute.Caching;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>A model's weights, or a rank's part of them, repacked for the kernels; the checkpoint can be closed after loading.</summary>
internal sealed class DecoderWeights : IDisposable
{
    private readonly WeightLoader _owner;

    private DecoderWeights(WeightLoader loader, DecoderConfig config, float embeddingScale)
    {
        _owner = loader;
        var names = config.Names;
        var byPanels = MatrixCut.Outputs(PackedMatrix.PanelOutputs);
        Vocabulary = loader.Share.OfVocabulary(config);
        Embedding = loader.Matrix("", [names.Embedding], [config.VocabSize], config.Hidden, bias: false, byPanels);
        EmbeddingScale = embeddingScale;
        Blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => BlockWeights.Load(loader, config, layer))];
        FinalNorm = loader.Vector(names.FinalNorm + ".weight", config.Hidden, config.NormsAddOne ? 1 : 0);
        Output = config.TiedEmbeddings ? Embedding : loader.Matrix("", [names.Output], [config.VocabSize], config.Hidden, bias: false, byPanels);
        BytesPerToken = Output.Bytes + Blocks.Select((block, layer) => block.BytesPerToken(config.Blocks[layer].Experts?.Chosen ?? 1)).Sum();
    }

    /// <summary>The tokens whose rows these weights have.</summary>
    public (int First, int Count) Vocabulary { get; }

    /// <summary>[vocab, hidden].</summary>
    public PackedMatrix Embedding { get; }

    /// <summary>What a row of <see cref="Embedding"/> is multiplied by.</summary>
    public float EmbeddingScale { get; }

    public IReadOnlyList<BlockWeights> Blocks { get; }

    public NativeBuffer FinalNorm { get; }

    /// <summary>[vocab, hidden]; <see cref="Embedding"/> itself where the two are tied.</summary>
    public PackedMatrix Output { get; }

    /// <summary>Bytes of weights that computing one token with its logits reads.</summary>
    public long BytesPerToken { get; }

    /// <summary>Some matrices are in int8.</summary>
    public bool Int8 => Output.Format == PanelFormat.Int8;

    /// <summary>Other processes have the same physical memory for them.</summary>
    public bool Shared { get; private init; }

    /// <param name="config">Of the whole model, with the names that the checkpoint has.</param>
    /// <param name="cache">Null: packed into memory of this process.</param>
    /// <param name="identity">Of the checkpoint, for the cache.</param>
    /// <exception cref="ModelLoadException">A tensor is missing, has the wrong shape or type, or elements that are not finite.</exception>
    public static DecoderWeights Load(
        DecoderConfig config, RankShare share, Checkpoint checkpoint, WeightFormat format, WorkerTeam team, WeightCache? cache, string identity)
    {
        var loader = new WeightLoader(checkpoint, format, share);
        try
        {
            return new DecoderWeights(loader, config, ScaleOfEmbeddings(config, checkpoint)) { Shared = loader.Fill(cache, identity, team) };
        }
        catch
        {
            loader.Dispose();
            throw;
        }
    }

    /// <summary>Rounded to the weights' type, as the models were trained (transformers, pull request 29402).</summary>
    public static float ScaleOfEmbeddings(DecoderConfig config, Checkpoint checkpoint)
    {
        if (!config.ScaledEmbeddings)
        {
            return 1;
        }

        float scale = (float)Math.Sqrt(config.Hidden);
        return checkpoint.Matrix(config.Names.Embedding + ".weight", config.VocabSize, config.Hidden).Type switch
        {
            WeightType.BFloat16 => BFloat16.ToSingle(BFloat16.Round(scale)),
            WeightType.Float16 => (float)(Half)scale,
            _ => scale,
        };
    }

    public void Dispose() => _owner.Dispose();
}
