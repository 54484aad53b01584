using System.Globalization;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;

namespace ScriptedServe.Host.Metrics;

/// <summary>The figures of each router version. Versions come and go: only those that served lately have series.</summary>
internal static class VersionMetrics
{
    private static readonly RequestFault[] Faults = [.. Enum.GetValues<RequestFault>().Where(fault => fault != RequestFault.None)];

    public static IEnumerable<Instrument> Of(FigureBook book)
    {
        var window = string.Create(CultureInfo.InvariantCulture, $"over the last {book.Window.TotalSeconds:0} s");
        yield return new SampledCounter(
            "scriptedserve_version_requests_total", "Requests of a router version that ended, by outcome.",
            () => book.All().SelectMany(version => Outcomes(version).Select(outcome => (Labels(version, outcome.Name), (double)outcome.Count))), "router", "version", "outcome");
        yield return new SampledCounter(
            "scriptedserve_version_errors_total", "Requests of a router version that failed, by whose fault it was.",
            () => book.All().SelectMany(version => Errors(version).Select(error => (Labels(version, error.Name), (double)error.Count))), "router", "version", "fault");
        yield return Latency("ttft", "From arrival to the first token", counts => counts.Ttft);
        yield return Latency("tpot", "Mean time a token after the first", counts => counts.Tpot);
        yield return Latency("jct", "From arrival to the last token", counts => counts.Jct);

        Gauge Latency(string name, string help, Func<FigureCounts, LatencyHistogram> latencies) => new(
            $"scriptedserve_version_{name}_seconds", $"{help}, of a router version, {window}.",
            () =>
                from version in book.All()
                let known = latencies(version.Lately().Counts)
                where known.Count > 0
                from share in (double[])[0.50, 0.95]
                select (Labels(version, share.ToString(CultureInfo.InvariantCulture)), known.Quantile(share)),
            "router", "version", "quantile");
    }

    private static IEnumerable<(string Name, long Count)> Outcomes(VersionFigures version)
    {
        var total = version.Total();
        return [("ok", total.Ok), ("cancelled", total.Cancelled), ("failed", total.Failed)];
    }

    private static IEnumerable<(string Name, long Count)> Errors(VersionFigures version)
    {
        var total = version.Total();
        return Faults.Select(fault => (fault.ToString().ToLowerInvariant(), total.Of(fault)));
    }

    private static string[] Labels(VersionFigures version, string last)
    {
        var at = version.Label.LastIndexOf('@');
        return [version.Label[..at], version.Label[(at + 1)..], last];
    }
}
