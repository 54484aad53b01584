using System.Globalization;

namespace ScriptedServe.Host.Scripts.Guarding;

/// <summary>What a new version may be worse by than the old one before the guard takes it back.</summary>
public sealed record GuardBounds
{
    /// <summary>False: activations are not guarded (default true). Setting: guard (on or off).</summary>
    public bool IsOn { get; init; } = true;

    /// <summary>The versions are compared over this while, seconds (default 120; 1 to 86400). Setting: guard-window.</summary>
    public int WindowSeconds { get; init; } = 120;

    /// <summary>How long after an activation the version is watched, seconds (default 600; 1 to 604800); a canary as long as it is one. Setting: guard-watch.</summary>
    public int WatchSeconds { get; init; } = 600;

    /// <summary>Requests of a version below which nothing is said of it (default 20; 5 to 1000000). Setting: guard-requests.</summary>
    public int MinRequests { get; init; } = 20;

    /// <summary>How much higher the share of failed requests may be, percent of all requests (default 5; 0 to 100). Setting: guard-errors.</summary>
    public int ErrorMarginPercent { get; init; } = 5;

    /// <summary>How much higher TTFT and TPOT may be, percent of the old version's (default 200, that is twice as high; 101 to 100000). Setting: guard-latency.</summary>
    public int LatencyPercent { get; init; } = 200;

    /// <summary>Latency that does not matter, milliseconds above the old version's (default 2; 0 to 60000). Setting: guard-latency-floor-ms.</summary>
    public int LatencyFloorMs { get; init; } = 2;

    private static readonly (string Key, int Least, int Most, Func<GuardBounds, int, GuardBounds> Set)[] Keys =
    [
        ("window", 1, 86_400, static (bounds, value) => bounds with { WindowSeconds = value }),
        ("watch", 1, 604_800, static (bounds, value) => bounds with { WatchSeconds = value }),
        ("requests", 5, 1_000_000, static (bounds, value) => bounds with { MinRequests = value }),
        ("errors", 0, 100, static (bounds, value) => bounds with { ErrorMarginPercent = value }),
        ("latency", 101, 100_000, static (bounds, value) => bounds with { LatencyPercent = value }),
        ("latency-floor-ms", 0, 60_000, static (bounds, value) => bounds with { LatencyFloorMs = value }),
    ];

    /// <summary>These bounds changed as a text says: <c>on</c>, <c>off</c>, or <c>errors=10,latency=300</c> with the names of the settings less <c>guard-</c>.</summary>
    /// <exception cref="FormatException">It says something else.</exception>
    public GuardBounds With(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text is "on" or "off")
        {
            return this with { IsOn = text == "on" };
        }

        var bounds = this with { IsOn = true };
        foreach (var part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            var pair = part.Split('=', 2, StringSplitOptions.TrimEntries);
            var (key, least, most, set) = Array.Find(Keys, known => known.Key == pair[0]);
            if (key is null)
            {
                throw new FormatException($"guard is \"{text}\"; it can be on, off, or values of {string.Join(", ", Keys.Select(known => known.Key))} as in errors=10,latency=300");
            }

            bounds = pair.Length == 2 && int.TryParse(pair[1], NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value >= least && value <= most
                ? set(bounds, value)
                : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"guard: {key} must be a whole number from {least} to {most}"));
        }

        return bounds;
    }
}
