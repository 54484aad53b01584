namespace ScriptedServe.Host.Requests.Figures;

/// <summary>
/// Latencies counted in bins a tenth wide each, from 0.1 ms to 1000 s: a quantile is off by at most 5%, the memory is fixed, and histograms
/// add up. Not thread-safe.
/// </summary>
internal sealed class LatencyHistogram
{
    private const double Least = 1e-4;
    private const int Bins = 170;
    private static readonly double LogWidth = Math.Log(1.1);

    private readonly int[] counts = new int[Bins];

    public int Count { get; private set; }

    public void Add(double seconds)
    {
        counts[BinOf(seconds)]++;
        Count++;
    }

    public void Add(LatencyHistogram other)
    {
        for (var i = 0; i < Bins; i++)
        {
            counts[i] += other.counts[i];
        }

        Count += other.Count;
    }

    public void Clear()
    {
        Array.Clear(counts);
        Count = 0;
    }

    /// <summary>Seconds that this share of all latencies does not exceed (nearest rank); 0 without any.</summary>
    public double Quantile(double share) => AtRank((int)Math.Ceiling(share * Count));

    /// <summary>
    /// The least value that the quantile of all requests there could have been may plausibly have, from these: the order statistic that lies
    /// <paramref name="z"/> standard deviations of the rank below (normal approximation of the binomial; Conover, Practical Nonparametric
    /// Statistics, 3.2). 0 if there are too few latencies to say.
    /// </summary>
    public double QuantileAtLeast(double share, double z)
    {
        var rank = (int)Math.Floor((share * Count) - (z * Math.Sqrt(share * (1 - share) * Count)));
        return rank < 1 ? 0 : AtRank(rank);
    }

    private double AtRank(int rank)
    {
        if (Count == 0)
        {
            return 0;
        }

        var (bin, seen) = (0, counts[0]);
        while (seen < rank && bin < Bins - 1)
        {
            seen += counts[++bin];
        }

        return Least * Math.Exp((bin + 0.5) * LogWidth);
    }

    private static int BinOf(double seconds) => seconds <= Least ? 0 : Math.Min(Bins - 1, (int)(Math.Log(seconds / Least) / LogWidth));
}
