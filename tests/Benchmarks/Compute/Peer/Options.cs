using System.Globalization;
using ScriptedServe.KvTransport;

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

    /// <summary>Tokens that sequences have in the cache already; of the rows of <c>steps</c>.</summary>
    public IReadOnlyList<int> Contexts { get; init; } = [0, 8192, 16384, 32768];

    /// <summary>Sequences of a decode step; of the rows of <c>steps</c>.</summary>
    public IReadOnlyList<int> Batches { get; init; } = [1, 8, 16, 32];

    /// <summary>What <c>steps</c> keeps keys and values as.</summary>
    public KvDataType Kv { get; init; } = KvDataType.Float32;

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
        ["contexts", var value] => options with { Contexts = [.. value.Split(',').Select(Number)] },
        ["batches", var value] => options with { Batches = [.. value.Split(',').Select(Count)] },
        ["kv", var value] => options with { Kv = KvDataTypes.Parse(value) },
        ["own", var value] => options with { Own = bool.Parse(value) },
        _ => throw new FormatException(
            $"'{argument}': rounds=N, repetitions=N, models=tiny,0.3b, weights=f32,bf16,int8, threads=1,2, contexts=0,8192, batches=1,16, kv=f32|bf16|f16, llama-bench=FILE, "
            + "folder=DIR or own=true|false is expected"),
    });

    private static int Count(string value) => Number(value) is > 0 and var count ? count : throw new FormatException($"'{value}' is no whole number above 0");

    private static int Number(string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int count)
            ? count
            : throw new FormatException($"'{value}' is no whole number");

    private static IReadOnlyList<T> Chosen<T>(string names, IReadOnlyList<T> all, Func<T, string> nameOf) =>
    [
        .. names.Split(',').Select(name => all.FirstOrDefault(item => nameOf(item) == name)
            ?? throw new FormatException($"'{name}' is none of {string.Join(", ", all.Select(nameOf))}")),
    ];
}
