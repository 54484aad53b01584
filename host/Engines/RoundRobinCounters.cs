using System.Collections.Concurrent;

namespace ScriptedServe.Host.Engines;

/// <summary>Whose turn it is in each set of engines, across the snapshots of the fleet. Thread-safe.</summary>
internal sealed class RoundRobinCounters
{
    /// <summary>Sets that differ in nothing but a script's ever new conditions must not pile up.</summary>
    private const int MostSets = 1024;

    private readonly ConcurrentDictionary<string, Counter> counters = new(StringComparer.Ordinal);

    public Counter Of(string set)
    {
        if (counters.Count > MostSets)
        {
            counters.Clear();
        }

        return counters.GetOrAdd(set, static _ => new Counter());
    }

    public sealed class Counter
    {
        private int turn = -1;

        public int Next(int count) => (int)((uint)Interlocked.Increment(ref turn) % (uint)count);
    }
}
