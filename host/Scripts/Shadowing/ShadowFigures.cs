namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>What came of a shadow so far, as the admin API shows it.</summary>
/// <param name="Sample">Percent of the router's requests that are taken down.</param>
/// <param name="Taken">Requests taken down.</param>
/// <param name="Skipped">Of those, not replayed: they failed, were left by their client, or had too long a reply.</param>
/// <param name="Dropped">Of those, not replayed because too many waited.</param>
/// <param name="Compared">Of those, replayed.</param>
/// <param name="Same">Of those, with the same decisions.</param>
/// <param name="Different">The others by their gravest difference.</param>
/// <param name="ThreadMsMean">Thread time of the shadow's script, and of the script that served, a request.</param>
/// <param name="PlanErrors">Calls of its PlanStrategy that failed.</param>
/// <param name="Differences">The latest.</param>
public sealed record ShadowView(
    string Router, int Version, double Sample, DateTimeOffset Since, long Taken, long Skipped, long Dropped, long Compared, long Same, double Agreement,
    IReadOnlyDictionary<ShadowDifference, long> Different, double ThreadMsMean, double ServedThreadMsMean, long PlanErrors, IReadOnlyList<ShadowSample> Differences);

/// <summary>One request on which the versions differ.</summary>
/// <param name="Served"><c>name@version</c> of the version that served it.</param>
/// <param name="Log">First lines the shadow wrote to its log.</param>
public sealed record ShadowSample(
    string Request, ShadowDifference Difference, string Served, IReadOnlyList<ShadowCall> ServedCalls, IReadOnlyList<ShadowCall> ShadowCalls, string? Error, IReadOnlyList<string> Log);

/// <summary>Counts what came of a shadow. Bounded. Thread-safe.</summary>
internal sealed class ShadowFigures
{
    private const int MostSamples = 20;

    private readonly Lock gate = new();
    private readonly long[] byDifference = new long[Enum.GetValues<ShadowDifference>().Length];
    private readonly Queue<ShadowSample> samples = new();
    private long taken;
    private long skipped;
    private long dropped;
    private long planErrors;
    private double threadMs;
    private double servedThreadMs;

    public void Take() => Interlocked.Increment(ref taken);

    public void Skip() => Interlocked.Increment(ref skipped);

    public void Drop() => Interlocked.Increment(ref dropped);

    public void PlanFailed() => Interlocked.Increment(ref planErrors);

    public void Add(ShadowRun run)
    {
        var (served, shadow) = (run.Recorded.Calls(), run.Calls);
        var difference = ShadowComparison.Of(served, shadow, run.Error);
        lock (gate)
        {
            byDifference[(int)difference]++;
            threadMs += run.ThreadTime.TotalMilliseconds;
            servedThreadMs += run.Recorded.Trace.ThreadTime.TotalMilliseconds;
            if (difference == ShadowDifference.None)
            {
                return;
            }

            if (samples.Count == MostSamples)
            {
                samples.Dequeue();
            }

            samples.Enqueue(new ShadowSample(run.Recorded.Spec.Id, difference, run.Recorded.Trace.Router, served, shadow, run.Error, run.Lines));
        }
    }

    public ShadowView View(string router, int version, double sample, DateTimeOffset since)
    {
        lock (gate)
        {
            var (compared, same) = (byDifference.Sum(), byDifference[(int)ShadowDifference.None]);
            return new ShadowView(
                router, version, sample, since, Interlocked.Read(ref taken), Interlocked.Read(ref skipped), Interlocked.Read(ref dropped), compared, same,
                compared == 0 ? 0 : Math.Round((double)same / compared, 4),
                Enum.GetValues<ShadowDifference>().Where(kind => kind != ShadowDifference.None).ToDictionary(kind => kind, kind => byDifference[(int)kind]),
                Mean(threadMs), Mean(servedThreadMs), Interlocked.Read(ref planErrors), [.. samples.Reverse()]);

            double Mean(double sum) => compared == 0 ? 0 : Math.Round(sum / compared, 4);
        }
    }
}
