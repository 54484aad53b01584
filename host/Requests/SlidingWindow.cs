using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>The observations of the last minute, at most a fixed number of them. Not thread-safe.</summary>
internal sealed class SlidingWindow(TimeProvider time, TimeSpan length, int capacity = 4096)
{
    private readonly Queue<(long Stamp, double Value)> observations = new();

    public void Add(double value)
    {
        Expire();
        if (observations.Count == capacity)
        {
            observations.Dequeue();
        }

        observations.Enqueue((time.GetTimestamp(), value));
    }

    public double Sum()
    {
        Expire();
        return observations.Sum(observation => observation.Value);
    }

    public Distribution Distribution()
    {
        Expire();
        if (observations.Count == 0)
        {
            return default;
        }

        double[] sorted = [.. observations.Select(observation => observation.Value)];
        Array.Sort(sorted);
        return new Distribution(sorted.Length, sorted.Average(), Percentile(sorted, 0.50), Percentile(sorted, 0.95), Percentile(sorted, 0.99));
    }

    /// <summary>Nearest rank: the smallest observation that at least this share of all does not exceed.</summary>
    private static double Percentile(double[] sorted, double share) =>
        sorted[Math.Clamp((int)Math.Ceiling(share * sorted.Length) - 1, 0, sorted.Length - 1)];

    private void Expire()
    {
        while (observations.TryPeek(out var oldest) && time.GetElapsedTime(oldest.Stamp) > length)
        {
            observations.Dequeue();
        }
    }
}
