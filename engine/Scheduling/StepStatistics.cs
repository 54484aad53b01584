namespace ScriptedServe.Engine.Scheduling;

/// <summary>Counts and exponential means over steps.</summary>
public sealed class StepStatistics
{
    private const double Weight = 0.1;

    private double _stepUs;
    private double _decodeStepUs;

    public ulong Steps { get; private set; }

    public ulong TokensGenerated { get; private set; }

    public ulong TokensPrefilled { get; private set; }

    public long StepUsMean => (long)_stepUs;

    /// <summary>Over steps in which every sequence decoded.</summary>
    public long DecodeStepUsMean => (long)_decodeStepUs;

    /// <param name="computed">Tokens whose KV the step computed.</param>
    /// <param name="decoded">Those of them that were sampled before.</param>
    /// <param name="generated">Tokens it sampled.</param>
    public void Add(TimeSpan took, int computed, int decoded, int generated)
    {
        Steps++;
        TokensGenerated += (ulong)generated;
        TokensPrefilled += (ulong)(computed - decoded);
        _stepUs = Mean(_stepUs, took);
        if (computed == decoded)
        {
            _decodeStepUs = Mean(_decodeStepUs, took);
        }
    }

    private static double Mean(double mean, TimeSpan took) => mean == 0 ? took.TotalMicroseconds : mean + (Weight * (took.TotalMicroseconds - mean));
}
