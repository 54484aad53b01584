using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace ScriptedServe.Soak;

/// <summary>A request and what it is answered with alone.</summary>
internal sealed record KnownRequest(JsonObject Body, string Answer);

/// <summary>The requests of a soak: of many lengths, drawn and greedy, with shared beginnings.</summary>
internal static class Requests
{
    public const int LongestPromptTokens = 250;
    public const int LongestOutput = 120;

    private const int Count = 48;

    private static readonly string[] s_sentences =
    [
        "Once upon a time there was a small fox who lived near the river. ", "The sun was warm and the children went out to play. ", "A kind old man gave them bread and honey. ",
        "They walked for a long time and found a house. ", "Nobody knew who had lived there. ", "One day the wind blew and the door opened. ",
    ];

    /// <summary>Asks an idle host for each, one after the other.</summary>
    public static async Task<IReadOnlyList<KnownRequest>> WithAnswersAsync(HttpClient client)
    {
        var random = new Random(1);
        var requests = new List<KnownRequest>();
        for (int i = 0; i < Count; i++)
        {
            // About 15 tokens a sentence.
            var body = new JsonObject
            {
                ["prompt"] = string.Concat(Enumerable.Range(0, random.Next(1, 13)).Select(_ => s_sentences[random.Next(s_sentences.Length)])),
                ["max_tokens"] = random.Next(4, LongestOutput + 1),
                ["temperature"] = i % 2 == 0 ? 0 : 0.8,
                ["seed"] = i,
            };
            using var response = await client.PostAsJsonAsync(new Uri("/v1/completions", UriKind.Relative), body);
            response.EnsureSuccessStatusCode();
            requests.Add(new KnownRequest(body, (string)JsonNode.Parse(await response.Content.ReadAsStringAsync())!["choices"]![0]!["text"]!));
        }

        return requests;
    }
}
