namespace ScriptedServe.Host.Requests.Figures;

/// <summary>Figures as the admin API shows them.</summary>
/// <param name="Seconds">What they cover.</param>
/// <param name="Failed">By whose fault it was; kinds that did not happen are left out.</param>
public sealed record FiguresView(
    double Seconds, long Requests, long Ok, long Cancelled, IReadOnlyDictionary<string, long> Failed, double ErrorRate, LatencyView Ttft, LatencyView Tpot, LatencyView Jct)
{
    internal static FiguresView Of(FigureCounts counts, double seconds) => new(
        Math.Round(seconds, 1), counts.Ended, counts.Ok, counts.Cancelled,
        Enum.GetValues<RequestFault>().Where(fault => counts.Of(fault) > 0).ToDictionary(fault => fault.ToString().ToLowerInvariant(), counts.Of),
        counts.Ended == counts.Cancelled ? 0 : Math.Round((double)counts.Failed / (counts.Ended - counts.Cancelled), 4),
        LatencyView.Of(counts.Ttft), LatencyView.Of(counts.Tpot), LatencyView.Of(counts.Jct));
}

/// <summary>Milliseconds; 0 without any.</summary>
/// <param name="Count">Requests that had one.</param>
public sealed record LatencyView(long Count, double P50Ms, double P95Ms)
{
    internal static LatencyView Of(LatencyHistogram latencies) => new(latencies.Count, Ms(latencies.Quantile(0.50)), Ms(latencies.Quantile(0.95)));

    private static double Ms(double seconds) => Math.Round(seconds * 1000, 2);
}
