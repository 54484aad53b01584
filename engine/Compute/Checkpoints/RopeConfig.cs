namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// Rotary position embedding, half-rotation form: of the first 2 * pairs elements of a head, pair (i, i + pairs) is rotated by position *
/// frequency i; the elements behind them stay as they are.
/// </summary>
public sealed class RopeConfig
{
    private RopeConfig(double[] frequencies) => Frequencies = frequencies;

    /// <summary>[pairs]: radians a position.</summary>
    public IReadOnlyList<double> Frequencies { get; }

    /// <summary>[pairs]: in sequences of more tokens than <see cref="ShortContext"/>; the same as <see cref="Frequencies"/> where there is no difference.</summary>
    public IReadOnlyList<double> LongFrequencies { get; private init; } = [];

    public int ShortContext { get; private init; } = int.MaxValue;

    /// <summary>What sines and cosines are multiplied by.</summary>
    public double Magnitude { get; private init; } = 1;

    /// <summary>theta^(-2i/dimensions).</summary>
    public static RopeConfig Plain(double theta, int dimensions) => Of(Base(theta, dimensions));

    /// <summary>Positions divided by the factor.</summary>
    public static RopeConfig Linear(double theta, int dimensions, double factor) => Of([.. Base(theta, dimensions).Select(frequency => frequency / factor)]);

    /// <summary>
    /// Llama 3: frequencies of wavelengths above originalContext / low are divided by the factor, those below originalContext / high kept, with a
    /// ramp between.
    /// </summary>
    public static RopeConfig Llama3(double theta, int dimensions, double factor, double low, double high, double originalContext)
    {
        double Scale(double frequency)
        {
            double turns = originalContext * frequency / (2 * Math.PI);
            double keep = Math.Clamp((turns - low) / (high - low), 0, 1);
            return (1 - keep) * frequency / factor + keep * frequency;
        }

        return Of([.. Base(theta, dimensions).Select(Scale)]);
    }

    /// <summary>
    /// YaRN (arXiv 2309.00071): pairs that turn more than <paramref name="fast"/> times in the original context are kept, those that turn less than
    /// <paramref name="slow"/> times are divided by the factor, with a ramp over the pairs between.
    /// </summary>
    public static RopeConfig Yarn(double theta, int dimensions, double factor, double fast, double slow, double originalContext, bool truncate, double magnitude)
    {
        double Pair(double turns) => dimensions * Math.Log(originalContext / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
        double low = truncate ? Math.Floor(Pair(fast)) : Pair(fast);
        double high = truncate ? Math.Ceiling(Pair(slow)) : Pair(slow);
        low = Math.Max(low, 0);
        high = Math.Min(high, dimensions - 1);
        double width = high == low ? 0.001 : high - low;
        double Scale(double frequency, int pair)
        {
            double divide = Math.Clamp((pair - low) / width, 0, 1);
            return frequency / factor * divide + frequency * (1 - divide);
        }

        return new RopeConfig([.. Base(theta, dimensions).Select(Scale)]) { Magnitude = magnitude }.WithoutLong();
    }

    /// <summary>LongRoPE (arXiv 2402.13753): every pair has a divisor for short sequences, and another for those longer than the original context.</summary>
    public static RopeConfig Long(
        double theta, int dimensions, IReadOnlyList<double> shortFactors, IReadOnlyList<double> longFactors, int originalContext, double magnitude)
    {
        double[] frequencies = Base(theta, dimensions);
        return new RopeConfig([.. frequencies.Zip(shortFactors, (frequency, factor) => frequency / factor)])
        {
            LongFrequencies = [.. frequencies.Zip(longFactors, (frequency, factor) => frequency / factor)],
            ShortContext = originalContext,
            Magnitude = magnitude,
        };
    }

    /// <summary>The frequencies for a sequence that is, or is not, longer than <see cref="ShortContext"/>.</summary>
    public IReadOnlyList<double> For(bool longContext) => longContext ? LongFrequencies : Frequencies;

    private static RopeConfig Of(double[] frequencies) => new RopeConfig(frequencies).WithoutLong();

    private RopeConfig WithoutLong() => new((double[])Frequencies) { LongFrequencies = Frequencies, Magnitude = Magnitude };

    private static double[] Base(double theta, int dimensions) =>
        [.. Enumerable.Range(0, dimensions / 2).Select(pair => Math.Pow(theta, -2.0 * pair / dimensions))];
}
