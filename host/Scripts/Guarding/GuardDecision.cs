using System.Globalization;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;

namespace ScriptedServe.Host.Scripts.Guarding;

/// <summary>What is known of a version when the guard looks.</summary>
/// <param name="Seconds">What the counts cover.</param>
internal readonly record struct GuardSample(FigureCounts Counts, double Seconds);

/// <summary>The circumstances of a comparison.</summary>
/// <param name="IsBeside">Both versions serve at the same time, so what hits engines hits both. Else the old one's figures are from before.</param>
/// <param name="EnginesSteady">No engine came or went since the old figures began.</param>
internal readonly record struct GuardCircumstances(bool IsBeside, bool EnginesSteady);

/// <summary>Why a version is to be taken back.</summary>
/// <param name="Measure">errors, ttft_p50, ttft_p95, tpot_p50 or tpot_p95.</param>
/// <param name="Candidate">The new version's value: a share, or milliseconds.</param>
/// <param name="Baseline">The old one's; null where nothing was known of it.</param>
/// <param name="Bound">What the new version's value would have had to stay below.</param>
/// <param name="Text">The same in words.</param>
public sealed record GuardFinding(string Measure, double Candidate, double? Baseline, double Bound, string Text);

/// <summary>
/// Says whether a new version is worse than the old one: by more than the bounds allow, and by more than chance explains. Pure.
/// </summary>
/// <remarks>
/// What clients do (4xx, disconnects) counts for nothing. What engines do counts where both versions meet the same engines at the same
/// time, or where no engine came or went and the load is alike; so does latency.
/// </remarks>
internal static class GuardDecision
{
    /// <summary>Above this ratio of request rates, latency and engines without room may be the load's doing.</summary>
    private const double LikeLoad = 1.5;

    /// <summary>A machine is slow for seconds at a time: a version that serves alone is not judged by the latency of one such spell.</summary>
    private const double LeastSecondsAlone = 30;

    private static readonly RequestFault[] OfScripts = [RequestFault.Script, RequestFault.Limit, RequestFault.Contract];
    private static readonly RequestFault[] OfEngines = [RequestFault.Engine, RequestFault.Overloaded, RequestFault.Timeout];

    /// <returns>Null while there is nothing to hold against the version.</returns>
    public static GuardFinding? Decide(GuardSample candidate, GuardSample baseline, GuardCircumstances around, GuardBounds bounds)
    {
        if (!bounds.IsOn)
        {
            return null;
        }

        var countsEngines = around.IsBeside || (around.EnginesSteady && IsLikeLoad(candidate, baseline));
        return Errors(candidate, baseline, countsEngines, bounds) ?? (countsEngines && (around.IsBeside || candidate.Seconds >= LeastSecondsAlone) ? Latency(candidate, baseline, bounds) : null);
    }

    private static GuardFinding? Errors(GuardSample candidate, GuardSample baseline, bool countsEngines, GuardBounds bounds)
    {
        var (failed, of) = Judged(candidate, countsEngines);
        var (failedBefore, ofBefore) = Judged(baseline, countsEngines);
        if (of < bounds.MinRequests)
        {
            return null;
        }

        var margin = bounds.ErrorMarginPercent / 100.0;
        if (ofBefore >= bounds.MinRequests)
        {
            return Share(failed, of) - Share(failedBefore, ofBefore) > margin && Proportions.DifferenceAtLeast(failed, of, failedBefore, ofBefore) > 0
                ? Finding(failed, of, failedBefore, ofBefore, margin)
                : null;
        }

        // Too little is known of the old version: only what is the script's own doing counts, and it must be above the margin beyond doubt.
        (failed, of) = Judged(candidate, countsEngines: false);
        (failedBefore, ofBefore) = Judged(baseline, countsEngines: false);
        return of >= bounds.MinRequests && Proportions.Wilson(failed, of).Low > margin && Share(failed, of) - Share(failedBefore, ofBefore) > margin
            ? Finding(failed, of, failedBefore, ofBefore, margin)
            : null;
    }

    private static GuardFinding? Latency(GuardSample candidate, GuardSample baseline, GuardBounds bounds)
    {
        (string Name, LatencyHistogram New, LatencyHistogram Old)[] measures =
            [("ttft", candidate.Counts.Ttft, baseline.Counts.Ttft), ("tpot", candidate.Counts.Tpot, baseline.Counts.Tpot)];
        foreach (var (name, now, before) in measures.Where(measure => measure.New.Count >= bounds.MinRequests && measure.Old.Count >= bounds.MinRequests))
        {
            foreach (var share in (double[])[0.50, 0.95])
            {
                var old = before.Quantile(share);
                var bound = Math.Max(old * bounds.LatencyPercent / 100, old + (bounds.LatencyFloorMs / 1000.0));
                if (now.QuantileAtLeast(share, Proportions.Z) > bound)
                {
                    var (value, what) = (now.Quantile(share), string.Create(CultureInfo.InvariantCulture, $"{name}_p{share * 100:0}"));
                    return new GuardFinding(what, Ms(value), Ms(old), Ms(bound), string.Create(
                        CultureInfo.InvariantCulture,
                        $"{what} is {Ms(value)} ms over {now.Count} requests, against {Ms(old)} ms over {before.Count}; allowed are {Ms(bound)} ms"));
                }
            }
        }

        return null;
    }

    private static (long Failed, long Of) Judged(GuardSample sample, bool countsEngines)
    {
        var failed = (countsEngines ? [.. OfScripts, .. OfEngines] : OfScripts).Sum(sample.Counts.Of);
        return (failed, sample.Counts.Ok + failed);
    }

    private static bool IsLikeLoad(GuardSample candidate, GuardSample baseline) => Rate(candidate) <= Rate(baseline) * LikeLoad;

    private static double Rate(GuardSample sample) => sample.Counts.Ended / Math.Max(1, sample.Seconds);

    private static double Share(long some, long of) => of == 0 ? 0 : (double)some / of;

    private static GuardFinding Finding(long failed, long of, long failedBefore, long ofBefore, double margin)
    {
        var (share, before) = (Share(failed, of), Share(failedBefore, ofBefore));
        var against = ofBefore == 0 ? "nothing is known of the version before" : string.Create(CultureInfo.InvariantCulture, $"against {failedBefore} of {ofBefore} ({before:P1})");
        return new GuardFinding("errors", Math.Round(share, 4), ofBefore == 0 ? null : Math.Round(before, 4), Math.Round(before + margin, 4), string.Create(
            CultureInfo.InvariantCulture, $"{failed} of {of} requests failed ({share:P1}), {against}; allowed are {margin:P0} more"));
    }

    private static double Ms(double seconds) => Math.Round(seconds * 1000, 2);
}
