namespace ScriptedServe.ComputeBenchmarks;

/// <summary>Times repetitions of a piece of work. The best of several rounds is given: on a shared machine the others measure its neighbours.</summary>
internal sealed class Measure(TimeProvider time)
{
    private const int Rounds = 7;
    private static readonly TimeSpan RoundTime = TimeSpan.FromMilliseconds(150);

    /// <summary>Seconds that one call of <paramref name="work"/> takes at best.</summary>
    public double SecondsPerCall(Action work)
    {
        // Warm up until compiled and clocked up, and learn how many calls fill a round.
        int calls = 0;
        long start = time.GetTimestamp();
        while (calls < 3 || time.GetElapsedTime(start) < RoundTime)
        {
            work();
            calls++;
        }

        double best = double.MaxValue;
        for (int round = 0; round < Rounds; round++)
        {
            start = time.GetTimestamp();
            for (int call = 0; call < calls; call++)
            {
                work();
            }

            best = Math.Min(best, time.GetElapsedTime(start).TotalSeconds / calls);
        }

        return best;
    }
}
