namespace ScriptedServe.ComputeBenchmarks;

/// <summary>
/// Times repetitions of a piece of work in many short rounds and gives the best one: on a shared machine a round of a few milliseconds has
/// a chance to run undisturbed, and the others measure its neighbours.
/// </summary>
internal sealed class Measure(TimeProvider time)
{
    private static readonly TimeSpan WarmUpTime = TimeSpan.FromMilliseconds(150);
    private static readonly TimeSpan RoundTime = TimeSpan.FromMilliseconds(2);
    private static readonly TimeSpan TotalTime = TimeSpan.FromMilliseconds(600);

    /// <summary>Seconds that one call of <paramref name="work"/> takes at best.</summary>
    public double SecondsPerCall(Action work)
    {
        double single = double.MaxValue;
        long start = time.GetTimestamp();
        for (int calls = 0; calls < 3 || time.GetElapsedTime(start) < WarmUpTime; calls++)
        {
            single = Math.Min(single, SecondsPerCall(work, 1));
        }

        int callsPerRound = (int)Math.Max(1, RoundTime.TotalSeconds / single);
        double best = double.MaxValue;
        start = time.GetTimestamp();
        for (int rounds = 0; rounds < 5 || time.GetElapsedTime(start) < TotalTime; rounds++)
        {
            best = Math.Min(best, SecondsPerCall(work, callsPerRound));
        }

        return best;
    }

    private double SecondsPerCall(Action work, int calls)
    {
        long start = time.GetTimestamp();
        for (int call = 0; call < calls; call++)
        {
            work();
        }

        return time.GetElapsedTime(start).TotalSeconds / calls;
    }
}
