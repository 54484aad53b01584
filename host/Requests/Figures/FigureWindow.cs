namespace ScriptedServe.Host.Requests.Figures;

/// <summary>
/// The requests that ended within the last while, in slices of a twelfth of it: the memory is fixed, and what is told covers the window
/// less at most a slice. Thread-safe.
/// </summary>
internal sealed class FigureWindow
{
    private const int Slices = 12;

    private readonly Lock gate = new();
    private readonly TimeProvider time;
    private readonly TimeSpan slice;
    private readonly long began;
    private readonly FigureCounts?[] ring = new FigureCounts?[Slices];
    private long newest;

    public FigureWindow(TimeProvider time, TimeSpan length)
    {
        this.time = time;
        slice = length / Slices;
        began = time.GetTimestamp();
    }

    public void Add(in RequestEnd end)
    {
        lock (gate)
        {
            Advance_NeedsLock();
            (ring[newest % Slices] ??= new FigureCounts()).Add(end);
        }
    }

    /// <summary>A copy of what the window holds now, and the seconds that it covers.</summary>
    public (FigureCounts Counts, double Seconds) Read()
    {
        lock (gate)
        {
            Advance_NeedsLock();
            var sum = new FigureCounts();
            foreach (var counts in ring.OfType<FigureCounts>())
            {
                sum.Add(counts);
            }

            var age = time.GetElapsedTime(began);
            return (sum, Math.Min(age.TotalSeconds, (slice * (Slices - 1)).TotalSeconds + (age.TotalSeconds % slice.TotalSeconds)));
        }
    }

    private void Advance_NeedsLock()
    {
        var now = time.GetElapsedTime(began).Ticks / slice.Ticks;
        for (var next = Math.Max(newest + 1, now - Slices + 1); next <= now; next++)
        {
            ring[next % Slices]?.Clear();
        }

        newest = Math.Max(newest, now);
    }
}
