namespace ScriptedServe.Engine.Profiling;

/// <summary>
/// Times pieces of work within a budget for all of them: each piece is run once to warm up, then measured several times, for its share of what is left. So a
/// profile ends on time, give or take one run of one piece.
/// </summary>
internal sealed class BudgetedTimer(TimeProvider time, TimeSpan budget, int pieces)
{
    private const int LeastSamples = 3;
    private const int MostSamples = 51;

    private readonly long _start = time.GetTimestamp();
    private readonly List<double> _samples = [];
    private int _left = pieces;

    /// <summary>Time is up; what is left is to be skipped.</summary>
    public bool IsSpent => time.GetElapsedTime(_start) >= budget;

    /// <summary>The piece that comes next is not run: its share goes to the others.</summary>
    public void Skip() => _left--;

    /// <param name="run">Runs the piece once and says how long what counts of it took.</param>
    /// <returns>The median, in seconds, and of how many runs; of the warming one alone if that took all of the piece's share.</returns>
    public async Task<(double Seconds, int Samples)> MeasureAsync(Func<Task<TimeSpan>> run)
    {
        var (begun, share) = (time.GetTimestamp(), (budget - time.GetElapsedTime(_start)) / Math.Max(1, _left--));
        _samples.Clear();
        var warm = Seconds(await run());
        while (_samples.Count < MostSamples && (time.GetElapsedTime(begun) < share || (_samples.Count < LeastSamples && warm < share.TotalSeconds / LeastSamples)))
        {
            _samples.Add(Seconds(await run()));
        }

        if (_samples.Count == 0)
        {
            return (warm, 1);
        }

        _samples.Sort();
        return (_samples[_samples.Count / 2], _samples.Count);
    }

    /// <summary>At least what the clock can tell apart, so that rates are finite.</summary>
    private double Seconds(TimeSpan took) => Math.Max(took.TotalSeconds, 1.0 / time.TimestampFrequency);
}
