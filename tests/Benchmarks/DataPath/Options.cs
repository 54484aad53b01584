using System.Globalization;

namespace ScriptedServe.DataPathBenchmarks;

/// <summary>How long and what to measure: <c>key=value</c> arguments.</summary>
internal sealed record Options
{
    /// <summary>Rounds over all that is measured, interleaved; medians are shown.</summary>
    public int Rounds { get; init; } = 7;

    /// <summary>Seconds that one measurement takes.</summary>
    public double Seconds { get; init; } = 4;

    /// <summary>Requests one after the other for the time to first chunk, each round.</summary>
    public int Requests { get; init; } = 200;

    /// <summary>Which of script, throughput, paced, first to run.</summary>
    public IReadOnlyList<string> Only { get; init; } = ["script", "throughput", "paced", "first"];

    /// <summary>The host's assembly; that of the same build by default.</summary>
    public string? Host { get; init; }

    /// <exception cref="FormatException">Says what is wrong.</exception>
    public static Options Parse(IEnumerable<string> arguments) => arguments.Aggregate(new Options(), static (options, argument) => argument.Split('=', 2) switch
    {
        ["rounds", var value] => options with { Rounds = int.Parse(value, CultureInfo.InvariantCulture) },
        ["seconds", var value] => options with { Seconds = double.Parse(value, CultureInfo.InvariantCulture) },
        ["requests", var value] => options with { Requests = int.Parse(value, CultureInfo.InvariantCulture) },
        ["only", var value] => options with { Only = value.Split(',') },
        ["host", var value] => options with { Host = value },
        _ => throw new FormatException($"'{argument}': rounds=N, seconds=N, requests=N, only=script,throughput,paced,first or host=FILE is expected"),
    });
}
