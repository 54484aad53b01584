namespace ScriptedServe.Host.Requests.Figures;

/// <summary>Requests counted by how they ended, and their latencies. Not thread-safe.</summary>
internal sealed class FigureCounts
{
    private readonly long[] faults = new long[RequestFaults.Count];

    /// <summary>Well, as failures, or left by their clients.</summary>
    public long Ended { get; private set; }

    public long Ok { get; private set; }

    /// <summary>Left by their clients.</summary>
    public long Cancelled { get; private set; }

    /// <summary>Failed, whosever fault it was.</summary>
    public long Failed => Ended - Ok - Cancelled;

    public LatencyHistogram Ttft { get; } = new();

    public LatencyHistogram Tpot { get; } = new();

    public LatencyHistogram Jct { get; } = new();

    public long Of(RequestFault fault) => faults[(int)fault];

    public void Add(in RequestEnd end)
    {
        Ended++;
        switch (end.Outcome)
        {
            case CallOutcome.Ok:
                Ok++;
                break;
            case CallOutcome.Cancelled:
                Cancelled++;
                break;
            default:
                faults[(int)end.Fault]++;
                break;
        }

        AddIf(Ttft, end.TtftSeconds);
        AddIf(Tpot, end.TpotSeconds);
        AddIf(Jct, end.JctSeconds);
    }

    public void Add(FigureCounts other)
    {
        Ended += other.Ended;
        Ok += other.Ok;
        Cancelled += other.Cancelled;
        for (var i = 0; i < faults.Length; i++)
        {
            faults[i] += other.faults[i];
        }

        Ttft.Add(other.Ttft);
        Tpot.Add(other.Tpot);
        Jct.Add(other.Jct);
    }

    public void Clear()
    {
        (Ended, Ok, Cancelled) = (0, 0, 0);
        Array.Clear(faults);
        Ttft.Clear();
        Tpot.Clear();
        Jct.Clear();
    }

    private static void AddIf(LatencyHistogram latencies, double? seconds)
    {
        if (seconds is { } known)
        {
            latencies.Add(known);
        }
    }
}
