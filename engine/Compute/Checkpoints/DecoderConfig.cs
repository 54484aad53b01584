namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// The shape of a decoder-only transformer: blocks of RMSNorm, rotary grouped-query attention and a gated feed-forward, dense or of experts.
/// Families differ in these values alone; <see cref="ModelFamilies"/> fills them from config.json, and whatever computes a model reads
/// nothing else.
/// </summary>
public sealed record DecoderConfig
{
    public required string Architecture { get; init; }

    public required int VocabSize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int Hidden { get; init; }

    /// <summary>Query heads; a multiple of <see cref="KvHeads"/>.</summary>
    public required int Heads { get; init; }

    public required int KvHeads { get; init; }

    /// <summary>Elements of one head; even.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Width of a dense feed-forward's inner layer.</summary>
    public required int FeedForward { get; init; }

    public required float NormEpsilon { get; init; }

    /// <summary>Positions the model was made for.</summary>
    public required int ContextLength { get; init; }

    /// <summary>The blocks, first to last.</summary>
    public required IReadOnlyList<BlockConfig> Blocks { get; init; }

    /// <summary>Where the checkpoint keeps what.</summary>
    internal TensorNames Names { get; init; } = new();

    /// <summary>The query, key and value projections have biases.</summary>
    public bool QkvBias { get; init; }

    /// <summary>The attention's output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>The dense feed-forward's three projections have biases.</summary>
    public bool FeedForwardBias { get; init; }

    /// <summary>Every head of queries and keys is normed, with weights that the heads share, before it is rotated.</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>What each half of a block adds to the residual stream is normed first.</summary>
    public bool PostNorms { get; init; }

    /// <summary>Norms multiply by 1 + weight.</summary>
    public bool NormsAddOne { get; init; }

    /// <summary>Embeddings are multiplied by sqrt(<see cref="Hidden"/>), rounded to the type of the embedding's weights.</summary>
    public bool ScaledEmbeddings { get; init; }

    /// <summary>What scores of queries and keys are multiplied by.</summary>
    public required float AttentionScale { get; init; }

    /// <summary>Scores s become cap * tanh(s / cap); null for none.</summary>
    public float? AttentionSoftCap { get; init; }

    /// <summary>The same of the logits.</summary>
    public float? LogitSoftCap { get; init; }

    public Activation Activation { get; init; } = Activation.Silu;

    /// <summary>The output projection is the embedding matrix.</summary>
    public bool TiedEmbeddings { get; init; }

    public int Layers => Blocks.Count;

    /// <summary>Query heads that share one key/value head.</summary>
    public int GroupSize => Heads / KvHeads;

    /// <summary>Elements that one head takes in the KV cache: <see cref="HeadDim"/> rounded up to whole vectors of 8, the rest zero.</summary>
    public int HeadStride => (HeadDim + 7) / 8 * 8;

    public int QuerySize => Heads * HeadDim;

    public int KvSize => KvHeads * HeadDim;

    /// <summary>
    /// Sequences of more tokens than this are computed with other rotations, so that their KV differs from that of shorter ones from the
    /// first token on; <see cref="int.MaxValue"/> where there is no such length.
    /// </summary>
    public int ShortContext => Blocks.Min(block => block.Rope.ShortContext);
}

/// <summary>What a block has of its own.</summary>
/// <param name="Rope">Blocks that rotate alike share one object.</param>
public sealed record BlockConfig(RopeConfig Rope)
{
    /// <summary>How many tokens, itself included, a token attends to; <see cref="int.MaxValue"/> for all.</summary>
    public int Window { get; init; } = int.MaxValue;

    /// <summary>The experts of the feed-forward; null for a dense one.</summary>
    public ExpertsConfig? Experts { get; init; }
}

/// <summary>A feed-forward of experts: a router gives each token to a few of them, and their outputs are summed by its weights.</summary>
/// <param name="Count">Experts to choose from.</param>
/// <param name="Chosen">Experts that a token goes to: those of the largest router logits, of equal ones the first.</param>
/// <param name="FeedForward">Width of one expert's inner layer.</param>
/// <param name="Renormalized">The chosen ones' weights are made to sum to 1; else they are the softmax over all experts.</param>
public sealed record ExpertsConfig(int Count, int Chosen, int FeedForward, bool Renormalized);

/// <summary>What a feed-forward applies to its gate.</summary>
public enum Activation
{
    /// <summary>x * sigmoid(x).</summary>
    Silu,

    /// <summary>The tanh form of GELU: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).</summary>
    GeluTanh,
}
