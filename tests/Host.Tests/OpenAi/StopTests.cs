using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.OpenAi;

public class StopTests
{
    [Fact]
    public async Task A_stop_string_across_tokens_cuts_the_text_and_ends_the_generation()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = _ => "one\ntwo\nthree " + new string('x', 400);
        const string Body = """{"prompt":"a","max_tokens":500,"stop":["\nthr","zzz"],"logprobs":0""";

        var whole = await api.GetJsonAsync("/v1/completions", Body + "}");
        var saidWhole = api.Runner.TokensSaid;
        var events = await api.GetEventsAsync("/v1/completions", Body + ",\"stream\":true}");

        var choice = whole["choices"]![0]!;
        Assert.Equal(("one\ntwo", "stop"), ((string)choice["text"]!, (string)choice["finish_reason"]!));
        Assert.Equal("one\ntwo", string.Concat(choice["logprobs"]!["tokens"]!.Deserialize<string[]>()!));
        Assert.Equal(11, (int)whole["usage"]!["completion_tokens"]!);
        Assert.Equal("one\ntwo", string.Concat(events[..^1].Select(e => (string)JsonNode.Parse(e)!["choices"]![0]!["text"]!)));
        Assert.Equal("one\ntwo", string.Concat(events[..^1].SelectMany(e => JsonNode.Parse(e)!["choices"]![0]!["logprobs"]!["tokens"]!.Deserialize<string[]>()!)));
        // The rest was never generated.
        Assert.Equal((11, 22), (saidWhole, api.Runner.TokensSaid));
    }

    [Fact]
    public async Task Cached_tokens_are_left_out_where_a_stop_string_came_before_the_engine_told_them()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = spec => spec.PromptTokens.Length == 2 ? "cut here" : "whole";

        var cut = await api.GetJsonAsync("/v1/completions", """{"prompt":"a","stop":"t h"}""");
        var whole = await api.GetJsonAsync("/v1/completions", """{"prompt":"ab","stop":"t h"}""");
        var both = await api.GetJsonAsync("/v1/completions", """{"prompt":["a","ab"],"stop":"t h"}""");
        var events = await api.GetEventsAsync("/v1/completions", """{"prompt":"a","stop":"t h","stream":true,"stream_options":{"include_usage":true}}""");

        Assert.Null(cut["usage"]!["prompt_tokens_details"]);
        Assert.Equal(2, (int)whole["usage"]!["prompt_tokens_details"]!["cached_tokens"]!);
        Assert.Null(both["usage"]!["prompt_tokens_details"]);
        Assert.DoesNotContain("cached_tokens", events[^2]);
    }

    [Fact]
    public async Task Text_that_only_looks_like_a_stop_string_is_sent_in_the_end()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = _ => "a STO";
        var events = await api.GetEventsAsync("/v1/completions", """{"prompt":"a","stop":"STOP","stream":true}""");
        Assert.Equal("a STO", string.Concat(events[..^1].Select(e => (string)JsonNode.Parse(e)!["choices"]![0]!["text"]!)));
        Assert.DoesNotContain("\"text\":\"S\"", string.Concat(events));
    }

    [Fact]
    public async Task Any_tokens_in_any_chunks_give_the_text_that_a_plain_cut_of_the_whole_gives()
    {
        var random = new Random(20);
        for (var round = 0; round < 2000; round++)
        {
            var (tokenizer, tokens) = RandomTokens(random);
            var stops = RandomStops(random);
            var endsByItself = random.Next(2) == 0;
            int[] said = endsByItself ? [.. tokens, tokenizer.VocabSize - 1] : tokens;
            var expected = NaiveCut(tokenizer.Decode(tokens), stops);

            var running = new ChunkedRequest(random, said, endsByItself ? FinishReason.Stop : FinishReason.Length);
            await using var choice = new Choice(0, running, tokenizer, stops, withLogprobs: random.Next(2) == 0);
            var pieces = new List<Piece>();
            await foreach (var piece in choice.Pieces(CancellationToken.None))
            {
                pieces.Add(piece);
            }

            Assert.Equal(expected.Text, string.Concat(pieces.Select(p => p.Text)));
            Assert.Equal(expected.IsCut || endsByItself ? "stop" : "length", pieces[^1].FinishReason);
            Assert.All(pieces[..^1], p => Assert.True(p.FinishReason is null && p.Text.Length > 0));
            Assert.True(running.IsDisposed);
        }
    }

    [Fact]
    public async Task Streamed_and_whole_responses_have_the_same_text()
    {
        await using var api = await ApiServer.StartAsync();
        var random = new Random(21);
        for (var round = 0; round < 25; round++)
        {
            var text = RandomText(random, 40);
            api.Runner.Reply = _ => text;
            var fields = $$"""{"prompt":"a","max_tokens":{{random.Next(1, 80)}},"stop":{{JsonSerializer.Serialize(RandomStops(random))}}""";

            var whole = await api.GetJsonAsync("/v1/completions", fields + "}");
            var events = await api.GetEventsAsync("/v1/completions", fields + ",\"stream\":true}");

            var choices = events[..^1].ConvertAll(e => JsonNode.Parse(e)!["choices"]![0]!);
            Assert.Equal((string)whole["choices"]![0]!["text"]!, string.Concat(choices.Select(c => (string)c["text"]!)));
            Assert.Equal((string)whole["choices"]![0]!["finish_reason"]!, (string)choices[^1]["finish_reason"]!);
        }
    }

    /// <summary>The definition: the first stop string to be complete, the longest of those complete at the same place.</summary>
    private static (string Text, bool IsCut) NaiveCut(string text, string[] stops)
    {
        for (var end = 1; end <= text.Length; end++)
        {
            var complete = stops.Where(stop => text[..end].EndsWith(stop, StringComparison.Ordinal)).OrderByDescending(stop => stop.Length).FirstOrDefault();
            if (complete is not null)
            {
                return (text[..(end - complete.Length)], true);
            }
        }

        return (text, false);
    }

    private static string RandomText(Random random, int longest)
    {
        string[] letters = ["a", "b", "ab", "é", "😀", "\n"];
        return string.Concat(Enumerable.Range(0, random.Next(1, longest)).Select(_ => letters[random.Next(letters.Length)]));
    }

    private static string[] RandomStops(Random random) => [.. Enumerable.Range(0, random.Next(0, 4)).Select(_ => RandomText(random, 5))];

    /// <summary>A text cut into tokens of 1 to 5 bytes, through characters too; some tokens are special. The last token of the vocabulary ends.</summary>
    private static (TableTokenizer Tokenizer, int[] Tokens) RandomTokens(Random random)
    {
        var table = new List<byte[]>();
        for (var rest = Encoding.UTF8.GetBytes(RandomText(random, 60)).AsMemory(); rest.Length > 0;)
        {
            var length = random.Next(8) == 0 ? 0 : Math.Min(rest.Length, random.Next(1, 6));
            table.Add(rest[..length].ToArray());
            rest = rest[length..];
        }

        // Half of the time the last character stays incomplete.
        var kept = random.Next(2) == 0 ? table.Count : Math.Max(1, table.Count - 1);
        return (new TableTokenizer([.. table, []]), [.. Enumerable.Range(0, kept)]);
    }

    private sealed class ChunkedRequest(Random random, int[] tokens, FinishReason reason) : RunningRequest
    {
        public bool IsDisposed { get; private set; }

        public override string Router => "random@1";

        public override async IAsyncEnumerable<Chunk> Chunks([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
        {
            for (var at = 0; at < tokens.Length;)
            {
                var count = Math.Min(tokens.Length - at, random.Next(1, 4));
                yield return new()
                {
                    Tokens = tokens.AsMemory(at, count),
                    Logprobs = [.. Enumerable.Range(0, count).Select(_ => new TokenLogprob(-1, []))],
                    FinishReason = at + count == tokens.Length ? reason : null,
                };
                at += count;
            }

            await Task.CompletedTask;
        }

        public override ValueTask DisposeAsync()
        {
            Assert.False(IsDisposed);
            IsDisposed = true;
            return ValueTask.CompletedTask;
        }
    }
}
