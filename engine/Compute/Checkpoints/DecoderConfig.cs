namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// The shape of a decoder-only transformer: pre-norm blocks of RMSNorm, rotary grouped-query attention and a gated SiLU feed-forward.
/// Families differ in these values alone; <see cref="ModelFamilies"/> fills them from config.json.
/// </summary>
public sealed record DecoderConfig
{
    public required string Architecture { get; init; }

    public required int VocabSize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int Hidden { get; init; }

    public required int Layers { get; init; }

    /// <summary>Query heads; a multiple of <see cref="KvHeads"/>.</summary>
    public required int Heads { get; init; }

    public required int KvHeads { get; init; }

    /// <summary>Elements of one head; a multiple of 8.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Width of the feed-forward's inner layer.</summary>
    public required int FeedForward { get; init; }

    public required float NormEpsilon { get; init; }

    public required RopeConfig Rope { get; init; }

    /// <summary>Positions the model was made for.</summary>
    public required int ContextLength { get; init; }

    /// <summary>[layers]: how many tokens, itself included, a token attends to; <see cref="int.MaxValue"/> for all.</summary>
    public required IReadOnlyList<int> LayerWindows { get; init; }

    /// <summary>The query, key and value projections have biases.</summary>
    public bool QkvBias { get; init; }

    /// <summary>The attention's output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>The feed-forward's three projections have biases.</summary>
    public bool FeedForwardBias { get; init; }

    /// <summary>The output projection is the embedding matrix.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>Query heads that share one key/value head.</summary>
    public int GroupSize => Heads / KvHeads;

    public int QuerySize => Heads * HeadDim;

    public int KvSize => KvHeads * HeadDim;
}

public enum RopeScaling
{
    None,

    /// <summary>Positions divided by the factor.</summary>
    Linear,

    /// <summary>Llama 3: low frequencies divided by the factor, high ones kept, a smooth ramp between.</summary>
    Llama3,
}

/// <summary>Rotary position embedding, half-rotation form, over the whole head.</summary>
/// <param name="Theta">Base of the frequencies theta^(-2i/headDim).</param>
/// <param name="Factor">Scaling factor; unused with <see cref="RopeScaling.None"/>.</param>
/// <param name="LowFrequencyFactor">Llama 3 only: wavelengths above originalContext / this are fully scaled.</param>
/// <param name="HighFrequencyFactor">Llama 3 only: wavelengths below originalContext / this are kept.</param>
/// <param name="OriginalContext">Llama 3 only: context length of pre-training.</param>
public sealed record RopeConfig(
    double Theta,
    RopeScaling Scaling = RopeScaling.None,
    double Factor = 1,
    double LowFrequencyFactor = 1,
    double HighFrequencyFactor = 4,
    double OriginalContext = 8192)
{
    /// <summary>Radians a position of each of the headDim/2 rotated pairs.</summary>
    public double[] Frequencies(int headDim)
    {
        var frequencies = new double[headDim / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            double frequency = Math.Pow(Theta, -2.0 * i / headDim);
            frequencies[i] = Scaling switch
            {
                RopeScaling.Linear => frequency / Factor,
                RopeScaling.Llama3 => ScaleLlama3(frequency),
                _ => frequency,
            };
        }

        return frequencies;
    }

    private double ScaleLlama3(double frequency)
    {
        double wavelength = 2 * Math.PI / frequency;
        if (wavelength < OriginalContext / HighFrequencyFactor)
        {
            return frequency;
        }

        if (wavelength > OriginalContext / LowFrequencyFactor)
        {
            return frequency / Factor;
        }

        double keep = (OriginalContext / wavelength - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor);
        return (1 - keep) * frequency / Factor + keep * frequency;
    }
}
