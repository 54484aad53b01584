using System.Globalization;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>What to compare and how often: <c>key=value</c> arguments.</summary>
internal sealed record Options
{
    /// <summary>Times that both sides run, in turns.</summary>
    public int Rounds { get; init; } = 5;

    /// <summary>Repetitions of one run.</summary>
    public int Repetitions { get; init; } = 3;

    public IReadOnlyList<LlamaShape> Models { get; init; } = LlamaShape.All;

    public IReadOnlyList<WeightKind> Weights { get; init; } = WeightKind.All;

    public IReadOnlyList<int> Threads { get; init; } = [1, 2];

    /// <summary>llama-bench; looked for on PATH by default.</summary>
    public string? LlamaBench { get; init; }

    /// <summary>Where the models are written and found again; by default a temporary folder, deleted at the end.</summary>
    public string? Folder { get; init; }

    /// <summary>Also batch 16 against batch 1, and chunks of a prompt against one pass; ours alone.</summary>
    public bool Own { get; init; } = true;

    /// <exception cref="FormatException">Says what is wrong.</exception>
    public static Options Parse(IEnumerable<string> arguments) => arguments.Aggregate(new Options(), static (options, argument) => argument.Split('=', 2) switch
    {
        ["rounds", var value] => options with { Rounds = Count(value) },
        ["repetitions", var value] => options with { Repetitions = Count(value) },
        ["models", var value] => options with { Models = Chosen(value, LlamaShape.All, static shape => shape.Name) },
        ["weights", var value] => options with { Weights = Chosen(value, WeightKind.All, static kind => kind.Name) },
        ["threads", var value] => options with { Threads = [.. value.Split(',').Select(Count)] },
        ["llama-bench", var value] => options with { LlamaBench = value },
        ["folder", var value] => options with { Folder = value },
        ["own", var value] => options with { Own = bool.Parse(value) },
        _ => throw new FormatException(
            $"'{argument}': rounds=N, repetitions=N, models=tiny,0.3b, weights=f32,bf16,int8, threads=1,2, llama-bench=FILE, folder=DIR or own=true|false is expected"),
    });

    private static int Count(string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count > 0
            ? count
            : throw new FormatException($"'{value}' is no whole number above 0");

    private static IReadOnlyList<T> Chosen<T>(string names, IReadOnlyList<T> all, Func<T, string> nameOf) =>
    [
        .. names.Split(',').Select(name => all.FirstOrDefault(item => nameOf(item) == name)
            ?? throw new FormatException($"'{name}' is none of {string.Join(", ", all.Select(nameOf))}")),
    ];
}
