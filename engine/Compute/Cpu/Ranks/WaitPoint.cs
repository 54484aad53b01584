namespace ScriptedServe.Engine.Compute.Cpu.Ranks;

/// <summary>
/// Where threads wait for numbers that other threads raise: for some tens of microseconds by looking, then asleep. On a busy machine the one that is waited for
/// may need the processor, and one that slept is given it back at once, which one that only yields is not.
/// </summary>
internal sealed class WaitPoint
{
    /// <summary>Looks before sleeping, each some 40 ns apart.</summary>
    private const int SpinLooks = 1000;

    private readonly object _gate = new();
    private int _parked;

    /// <summary>Returns true when the number is this large, or false when <paramref name="givenUp"/> is not 0 before.</summary>
    public bool Await(ref long number, long least, ref int givenUp)
    {
        for (int look = 0; look < SpinLooks; look++)
        {
            if (Volatile.Read(ref number) >= least)
            {
                return true;
            }

            Thread.SpinWait(1);
        }

        lock (_gate)
        {
            // Announced before the last look, and numbers are raised before Raised looks for who is parked: one of the two sees the other.
            Interlocked.Increment(ref _parked);
            while (Volatile.Read(ref number) < least && Volatile.Read(ref givenUp) == 0)
            {
                Monitor.Wait(_gate);
            }

            Interlocked.Decrement(ref _parked);
            return Volatile.Read(ref number) >= least;
        }
    }

    /// <summary>A number that is waited for here was raised, or all are given up.</summary>
    public void Raised()
    {
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _parked) > 0)
        {
            lock (_gate)
            {
                Monitor.PulseAll(_gate);
            }
        }
    }
}
