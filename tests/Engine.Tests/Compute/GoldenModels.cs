using System.Text.Json;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A prompt with what Hugging Face's own code, in float64, continues it with.</summary>
/// <param name="LogProbabilities">[generated]: of each expected id.</param>
/// <param name="Top">[generated][n]: the most probable ids with their log-probabilities.</param>
internal sealed record GoldenCase(string Name, int[] Prompt, int[] ExpectedIds, double[] LogProbabilities, (int Id, double LogProbability)[][] Top);

/// <summary>The small models under tests/data/models, of every family and weight type; the README there says how they were made.</summary>
internal static class GoldenModels
{
    /// <summary>The built-in model; its cases are written by its own training scripts, in their own form.</summary>
    private const string Storyteller = "storyteller";

    private static readonly string[] All = [.. Directory.GetDirectories(TestPaths.InRepository("tests", "data", "models")).Select(path => Path.GetFileName(path)).Order(), Storyteller];

    public static TheoryData<string> Names { get; } = [.. All];

    public static TheoryData<string, int> NamesAndPageSizes { get; } = Pair(All, [1, 4, 16]);

    public static string Folder(string name) =>
        name == Storyteller ? TestPaths.InRepository("engine", "models", name) : TestPaths.InRepository("tests", "data", "models", name);

    public static (double Tolerance, IReadOnlyList<GoldenCase> Cases) Cases(string name)
    {
        string path = name == Storyteller ? TestPaths.InRepository("tests", "data", name) : Folder(name);
        using var document = JsonDocument.Parse(File.ReadAllBytes(path + ".cases.json"));
        var root = document.RootElement;
        var cases = root.GetProperty("cases").EnumerateArray();
        return name == Storyteller
            ? (0.002, [.. cases.Select(element => Read(element, "ids", "greedy", "logprobs", "top5"))])
            : (root.GetProperty("tolerance").GetDouble(), [.. cases.Select(element => Read(element, "prompt", "expected_ids", "token_logprobs", "top_logprobs"))]);
    }

    private static TheoryData<string, int> Pair(string[] names, int[] numbers)
    {
        var data = new TheoryData<string, int>();
        foreach (var (name, number) in from name in names from number in numbers select (name, number))
        {
            data.Add(name, number);
        }

        return data;
    }

    private static GoldenCase Read(JsonElement element, string prompt, string ids, string logProbabilities, string top) => new(
        element.GetProperty("name").GetString()!,
        [.. element.GetProperty(prompt).EnumerateArray().Select(id => id.GetInt32())],
        [.. element.GetProperty(ids).EnumerateArray().Select(id => id.GetInt32())],
        [.. element.GetProperty(logProbabilities).EnumerateArray().Select(value => value.GetDouble())],
        [.. element.GetProperty(top).EnumerateArray().Select(row => row.EnumerateArray().Select(pair => (pair[0].GetInt32(), pair[1].GetDouble())).ToArray())]);
}
