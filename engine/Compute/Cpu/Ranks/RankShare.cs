using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu.Ranks;

/// <summary>
/// What one rank of a tensor-parallel model has: some of the key/value heads with their query heads, of every feed-forward (and of every expert) some of
/// the inner width, and some of the vocabulary. Projections into these are cut by outputs, those out of them by inputs; norms and routers each rank has whole.
/// Where there are more ranks than key/value heads, as many ranks share each head and its place in the cache; the last of them has its weights and writes it.
/// </summary>
/// <param name="Unit">
/// Inner elements of a feed-forward that stay together: as many inputs as the weights' format packs together, so that a matrix in parts is, bit by bit, the
/// whole one.
/// </param>
internal sealed record RankShare(int Rank, int Ranks, int Unit)
{
    /// <summary>All of a model.</summary>
    public static RankShare Whole { get; } = new(0, 1, 1);

    /// <summary>Shards that the pool of a model in so many ranks has.</summary>
    public static int KvShards(DecoderConfig config, int ranks) => Math.Min(ranks, config.KvHeads);

    public bool IsWhole => Ranks == 1;

    /// <summary>The shares of a model, after a check that it can be divided so.</summary>
    /// <exception cref="ArgumentException">It cannot; every reason is named.</exception>
    public static IReadOnlyList<RankShare> Divide(DecoderConfig config, int ranks, WeightFormat weights)
    {
        if (ranks == 1)
        {
            return [Whole];
        }

        int unit = weights == WeightFormat.Int8 ? Int8Panel.GroupInputs : PanelGeometry.Of(PanelFormat.Float32).UnitInputs;
        string[] errors = [.. Errors(config, ranks, unit)];
        return errors.Length == 0
            ? [.. Enumerable.Range(0, ranks).Select(rank => new RankShare(rank, ranks, unit))]
            : throw new ArgumentException($"the model cannot be divided among {ranks} ranks (--tensor-parallel): {string.Join("; ", errors)}");
    }

    /// <summary>The rank's part of something that consists of units of equal size; the last unit may be a piece of one.</summary>
    public (int First, int Count) Of(int total, int unit)
    {
        int units = (total + unit - 1) / unit;
        int Edge(int rank) => (int)Math.Min(total, (long)units * rank / Ranks * unit);
        return (Edge(Rank), Edge(Rank + 1) - Edge(Rank));
    }

    /// <summary>The rank's part of the vocabulary, in whole panels.</summary>
    public (int First, int Count) OfVocabulary(DecoderConfig config) => Of(config.VocabSize, PackedMatrix.PanelOutputs);

    /// <summary>The shard of the pool that has the rank's heads.</summary>
    public int KvShard(DecoderConfig config) => (int)((long)Rank * KvShards(config, Ranks) / Ranks);

    /// <summary>The rank has the weights of its key/value heads.</summary>
    public bool WritesKv(DecoderConfig config) => Of(config.KvSize, config.HeadDim).Count > 0;

    /// <summary>The shape of what the rank computes. Its vocabulary is the whole one, since logits go to their places among everyone's.</summary>
    public DecoderConfig Of(DecoderConfig config) => IsWhole ? config : config with
    {
        Heads = config.Heads / Ranks,
        KvHeads = config.KvHeads / KvShards(config, Ranks),
        FeedForward = Of(config.FeedForward, Unit).Count,
        Blocks = [.. config.Blocks.Select(block => block.Experts is { } experts
            ? block with { Experts = experts with { FeedForward = Of(experts.FeedForward, Unit).Count } }
            : block)],
    };

    private static IEnumerable<string> Errors(DecoderConfig config, int ranks, int unit)
    {
        if (config.KvHeads % ranks != 0 && (ranks % config.KvHeads != 0 || config.Heads % ranks != 0))
        {
            yield return $"its {config.KvHeads} key/value heads are no multiple of {ranks}, nor can as many ranks share each, with equal parts of its {config.Heads} query heads";
        }
        else if (config.QuerySize / ranks % unit != 0)
        {
            yield return $"{config.Heads / ranks} query heads of {config.HeadDim} a rank are no multiple of {unit} inputs, which the weights keep together (--weights int8)";
        }

        foreach (int width in config.Blocks.Select(block => block.Experts?.FeedForward ?? config.FeedForward).Distinct())
        {
            if ((width + unit - 1) / unit < ranks)
            {
                yield return $"a feed-forward's width of {width} in units of {unit} is less than one for each rank";
            }
        }

        if ((config.VocabSize + PackedMatrix.PanelOutputs - 1) / PackedMatrix.PanelOutputs < ranks)
        {
            yield return $"its vocabulary of {config.VocabSize} in units of {PackedMatrix.PanelOutputs} is less than one for each rank";
        }
    }
}

/// <summary>How a matrix is cut among ranks.</summary>
/// <param name="ByInputs">Each rank has some inputs of all outputs, and their products are summed; else some outputs, each of them whole.</param>
/// <param name="Unit">Inputs or outputs that stay together.</param>
internal readonly record struct MatrixCut(bool ByInputs, int Unit)
{
    public static MatrixCut Outputs(int unit) => new(ByInputs: false, unit);

    public static MatrixCut Inputs(int unit) => new(ByInputs: true, unit);
}
