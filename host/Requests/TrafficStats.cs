using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>
/// What the traffic of the last minute looks like, fed by the request runner and read by scripts. Bounded memory; answers are
/// computed at most four times a second, however often scripts ask. Thread-safe.
/// </summary>
internal sealed class TrafficStats : RouterTraffic
{
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan Freshness = TimeSpan.FromMilliseconds(250);

    private readonly Lock gate = new();
    private readonly TimeProvider time;
    private readonly long began;
    private readonly ArrivalCounter arrivals;
    private readonly SlidingWindow promptTokens;
    private readonly SlidingWindow outputTokens;
    private readonly SlidingWindow ttft;
    private readonly SlidingWindow tpot;
    private readonly SlidingWindow jct;
    private Summary summary;
    private long summaryStamp;
    private int inFlight;

    public TrafficStats(TimeProvider time)
    {
        this.time = time;
        began = time.GetTimestamp();
        arrivals = new ArrivalCounter(time, began);
        promptTokens = new SlidingWindow(time, Window);
        outputTokens = new SlidingWindow(time, Window);
        ttft = new SlidingWindow(time, Window);
        tpot = new SlidingWindow(time, Window);
        jct = new SlidingWindow(time, Window);
        summaryStamp = long.MinValue;
    }

    public override double ArrivalRate => Read().ArrivalRate;

    public override Distribution PromptTokens => Read().PromptTokens;

    public override Distribution OutputTokens => Read().OutputTokens;

    public override double PrefillDecodeRatio => Read().PrefillDecodeRatio;

    public override Distribution Ttft => Read().Ttft;

    public override Distribution Tpot => Read().Tpot;

    public override Distribution Jct => Read().Jct;

    public override int InFlight => Volatile.Read(ref inFlight);

    public void Arrived(int promptLength)
    {
        Interlocked.Increment(ref inFlight);
        lock (gate)
        {
            arrivals.Add();
            promptTokens.Add(promptLength);
        }
    }

    /// <param name="ttftSeconds">Null if no token came.</param>
    /// <param name="completed">False: cancelled or failed, which says nothing of lengths and times.</param>
    public void Left(int outputLength, double? ttftSeconds, double jctSeconds, bool completed)
    {
        Interlocked.Decrement(ref inFlight);
        lock (gate)
        {
            if (ttftSeconds is { } first)
            {
                ttft.Add(first);
            }

            if (!completed)
            {
                return;
            }

            outputTokens.Add(outputLength);
            jct.Add(jctSeconds);
            if (ttftSeconds is { } started && outputLength > 1)
            {
                tpot.Add((jctSeconds - started) / (outputLength - 1));
            }
        }
    }

    private Summary Read()
    {
        lock (gate)
        {
            if (summaryStamp == long.MinValue || time.GetElapsedTime(summaryStamp) >= Freshness)
            {
                var (input, output) = (promptTokens.Sum(), outputTokens.Sum());
                summary = new Summary(
                    arrivals.PerSecond(),
                    promptTokens.Distribution(),
                    outputTokens.Distribution(),
                    output > 0 ? input / output : 0,
                    ttft.Distribution(),
                    tpot.Distribution(),
                    jct.Distribution());
                summaryStamp = time.GetTimestamp();
            }

            return summary;
        }
    }

    private readonly record struct Summary(
        double ArrivalRate,
        Distribution PromptTokens,
        Distribution OutputTokens,
        double PrefillDecodeRatio,
        Distribution Ttft,
        Distribution Tpot,
        Distribution Jct);

    /// <summary>Arrivals by the second: exact at any rate, unlike a bounded window of observations.</summary>
    private sealed class ArrivalCounter(TimeProvider time, long began)
    {
        private const int Seconds = 60;
        private readonly long[] counts = new long[Seconds];
        private long newest;

        public void Add()
        {
            Advance();
            counts[newest % Seconds]++;
        }

        /// <summary>Over the last minute, or over the time since the start where that is shorter (at least a second).</summary>
        public double PerSecond()
        {
            Advance();
            return counts.Sum() / Math.Clamp(time.GetElapsedTime(began).TotalSeconds, 1, Seconds);
        }

        private void Advance()
        {
            var now = (long)time.GetElapsedTime(began).TotalSeconds;
            for (var second = Math.Max(newest + 1, now - Seconds + 1); second <= now; second++)
            {
                counts[second % Seconds] = 0;
            }

            newest = Math.Max(newest, now);
        }
    }
}
