using System.Text.Json;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A prompt with what Hugging Face's own code, in float64, continues it with.</summary>
/// <param name="LogProbabilities">[generated]: of each expected id.</param>
/// <param name="Top">[generated][5]: the most probable ids with their log-probabilities.</param>
internal sealed record GoldenCase(string Name, int[] Prompt, int[] ExpectedIds, double[] LogProbabilities, (int Id, double LogProbability)[][] Top);

/// <summary>The small models under tests/data/models, one for each family and weight type.</summary>
internal static class GoldenModels
{
    private static readonly string[] All = ["llama-f32", "qwen2-bf16-sharded", "mistral-f16-swa"];

    public static TheoryData<string> Names { get; } = [.. All];

    public static TheoryData<string, int> NamesAndPageSizes { get; } = Pair(All, [1, 4, 16]);

    public static string Folder(string name) => TestPaths.InRepository("tests", "data", "models", name);

    public static (double Tolerance, IReadOnlyList<GoldenCase> Cases) Cases(string name)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(Folder(name) + ".cases.json"));
        var root = document.RootElement;
        return (root.GetProperty("tolerance").GetDouble(), [.. root.GetProperty("cases").EnumerateArray().Select(Read)]);
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

    private static GoldenCase Read(JsonElement element) => new(
        element.GetProperty("name").GetString()!,
        [.. element.GetProperty("prompt").EnumerateArray().Select(id => id.GetInt32())],
        [.. element.GetProperty("expected_ids").EnumerateArray().Select(id => id.GetInt32())],
        [.. element.GetProperty("token_logprobs").EnumerateArray().Select(value => value.GetDouble())],
        [.. element.GetProperty("top_logprobs").EnumerateArray().Select(top => top.EnumerateArray().Select(pair => (pair[0].GetInt32(), pair[1].GetDouble())).ToArray())]);
}
