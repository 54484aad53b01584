namespace ScriptedServe.Host.Scripts.Guarding;

/// <summary>What can be said of a share from a sample.</summary>
internal static class Proportions
{
    /// <summary>One-sided 99.5%: the guard looks again and again, and a false alarm takes back a good version.</summary>
    public const double Z = 2.58;

    /// <summary>Wilson's score interval (J. Am. Stat. Assoc. 22, 1927), which holds for small samples and for none of them.</summary>
    /// <param name="of">At least 1.</param>
    public static (double Low, double High) Wilson(long some, long of)
    {
        var (share, z2) = ((double)some / of, Z * Z);
        var center = (share + (z2 / (2 * of))) / (1 + (z2 / of));
        var half = Z * Math.Sqrt((share * (1 - share) / of) + (z2 / (4.0 * of * of))) / (1 + (z2 / of));
        return (Math.Max(0, center - half), Math.Min(1, center + half));
    }

    /// <summary>The least that a share plausibly is above another: Newcombe's hybrid score interval (Stat. Med. 17, 1998, method 10).</summary>
    public static double DifferenceAtLeast(long some, long of, long otherSome, long otherOf)
    {
        var (share, other) = ((double)some / of, (double)otherSome / otherOf);
        var (low, high) = (Wilson(some, of).Low, Wilson(otherSome, otherOf).High);
        return share - other - Math.Sqrt(((share - low) * (share - low)) + ((high - other) * (high - other)));
    }
}
