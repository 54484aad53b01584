using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.OpenAi;

public class StreamTests
{
    private const string Completions = "/v1/completions";
    private const string Chat = "/v1/chat/completions";
    private const string ChatBody = """{"messages":[{"role":"user","content":"Hi"}],"stream":true}""";

    [Fact]
    public async Task A_chat_stream_begins_with_the_role_and_ends_with_reason_usage_and_DONE()
    {
        await using var api = await ApiServer.StartAsync();

        var events = await api.GetEventsAsync(Chat, """{"messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}""");

        Assert.Equal("[DONE]", events[^1]);
        var chunks = events[..^1].ConvertAll(e => JsonNode.Parse(e)!);
        Assert.Single(chunks.Select(c => $"{c["id"]} {c["object"]} {c["created"]} {c["model"]} {c["system_fingerprint"]}").Distinct());
        Assert.Equal("chat.completion.chunk", (string)chunks[0]["object"]!);
        Assert.Equal("""{"role":"assistant","content":""}""", chunks[0]["choices"]![0]!["delta"]!.ToJsonString());
        Assert.Equal("Hello, wörld!", string.Concat(chunks[1..^2].Select(c => (string)c["choices"]![0]!["delta"]!["content"]!)));
        Assert.Equal(("{}", "stop"), (chunks[^2]["choices"]![0]!["delta"]!.ToJsonString(), (string)chunks[^2]["choices"]![0]!["finish_reason"]!));
        Assert.All(chunks[..^1], c => Assert.True(c.AsObject().ContainsKey("usage") && c["usage"] is null));
        Assert.Empty(chunks[^1]["choices"]!.AsArray());
        Assert.Equal(15, (int)chunks[^1]["usage"]!["completion_tokens"]!);
        Assert.All(chunks[..^2], c => Assert.Null(c["choices"]![0]!["finish_reason"]));
    }

    [Fact]
    public async Task A_stream_without_asking_has_no_usage()
    {
        await using var api = await ApiServer.StartAsync();
        Assert.All((await api.GetEventsAsync(Chat, ChatBody))[..^1], e => Assert.DoesNotContain("usage", e));
    }

    [Fact]
    public async Task Choices_stream_interleaved_each_whole_under_its_index()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = spec => $"choice {spec.Sampling.Seed % 97} " + new string('z', 20);

        var body = """{"prompt":["a","b"],"n":3,"seed":5,"max_tokens":200,"echo":true,"logprobs":null""";
        var events = await api.GetEventsAsync(Completions, body + ",\"stream\":true}");
        var whole = await api.GetJsonAsync(Completions, body + "}");

        var streamed = new string[6];
        var reasons = new List<int>();
        foreach (var choice in events[..^1].Select(e => JsonNode.Parse(e)!["choices"]![0]!))
        {
            streamed[(int)choice["index"]!] += (string)choice["text"]!;
            if (choice["finish_reason"] is not null)
            {
                reasons.Add((int)choice["index"]!);
            }
        }

        Assert.Equal(whole["choices"]!.AsArray().Select(c => (string)c!["text"]!), streamed);
        Assert.Equal([0, 1, 2, 3, 4, 5], reasons.Order());
    }

    [Theory]
    [InlineData(EngineError.Overloaded, 429, "overloaded", "rate_limit_error", 3)]
    [InlineData(EngineError.Unavailable, 503, "engine_unavailable", "server_error", null)]
    [InlineData(EngineError.Invalid, 400, "invalid_value", "invalid_request_error", null)]
    [InlineData(EngineError.Precondition, 502, "engine_failed", "server_error", null)]
    [InlineData(EngineError.Internal, 502, "engine_failed", "server_error", null)]
    [InlineData(EngineError.Cancelled, 504, "timeout", "server_error", null)]
    public async Task An_engines_failure_keeps_its_meaning_in_both_kinds_of_response(EngineError error, int status, string code, string type, int? retryAfter)
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.OnRun = (_, _) => Fail(new EngineException("e0", error, "engine e0: because", error == EngineError.Overloaded ? TimeSpan.FromMilliseconds(2100) : null));
        foreach (var body in new[] { ChatBody, ChatBody.Replace("true", "false", StringComparison.Ordinal) })
        {
            using var response = await api.PostAsync(Chat, body);
            Assert.Equal(status, (int)response.StatusCode);
            Assert.Equal(retryAfter, response.Headers.RetryAfter?.Delta?.TotalSeconds is { } s ? (int)s : null);
            var told = JsonNode.Parse(await response.Content.ReadAsStringAsync())!["error"]!;
            Assert.Equal((code, type, "engine e0: because"), ((string)told["code"]!, (string)told["type"]!, (string)told["message"]!));
        }
    }

    [Fact]
    public async Task A_failing_router_is_named_and_an_unexpected_failure_is_not_told()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.OnRun = (_, _) => Fail(new RouterFailedException("pd.csx@3 line 7: boom"));
        Assert.Contains("pd.csx@3 line 7", (await api.GetJsonAsync(Chat, ChatBody, 500))["error"]!.ToJsonString());

        api.Runner.OnRun = (_, _) => Fail(new InvalidOperationException("secret"));
        var error = (await api.GetJsonAsync(Chat, ChatBody, 500))["error"]!;
        Assert.Equal("internal_error", (string)error["code"]!);
        Assert.DoesNotContain("secret", (string)error["message"]!);

        api.Runner.OnRun = (_, _) => Chunks([new() { Tokens = new[] { 65 } }]);
        Assert.Equal("router_failed", (string)(await api.GetJsonAsync(Completions, """{"prompt":"a"}""", 500))["error"]!["code"]!);

        api.Runner.OnRun = (_, _) => Chunks([new() { Tokens = new[] { 65 }, FinishReason = FinishReason.Abort }]);
        Assert.Equal("request_aborted", (string)(await api.GetJsonAsync(Completions, """{"prompt":"a"}""", 500))["error"]!["code"]!);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public async Task A_failure_after_the_first_token_comes_as_an_event_and_ends_the_stream(int n)
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.OnRun = (spec, cancellationToken) => SayThenFail(api.Runner, spec, new EngineException("e0", EngineError.Unavailable, "engine e0 is gone"), cancellationToken);

        var events = await api.GetEventsAsync(Completions, """{"prompt":"a","stream":true,"n":""" + n.ToString(CultureInfo.InvariantCulture) + "}");

        Assert.Equal("engine_unavailable", (string)JsonNode.Parse(events[^1])!["error"]!["code"]!);
        Assert.Contains("text_completion", events[0]);
        Assert.Equal(0, api.Runner.Held);
    }

    [Theory]
    [InlineData(true, 1)]
    [InlineData(false, 1)]
    [InlineData(true, 4)]
    [InlineData(false, 4)]
    public async Task A_client_that_leaves_cancels_its_requests(bool stream, int n)
    {
        await using var api = await ApiServer.StartAsync();
        var running = new SemaphoreSlim(0);
        api.Runner.OnRun = (spec, cancellationToken) => SayThenHang(api.Runner, spec, running, cancellationToken);
        using var leave = new CancellationTokenSource();
        var body = $$"""{"messages":[{"role":"user","content":"Hi"}],"n":{{n}},"stream":{{(stream ? "true" : "false")}}}""";
        using var request = new HttpRequestMessage(HttpMethod.Post, Chat) { Content = new StringContent(body) };

        var reading = api.Http.SendAsync(request, HttpCompletionOption.ResponseContentRead, leave.Token);
        for (var i = 0; i < n; i++)
        {
            Assert.True(await running.WaitAsync(TimeSpan.FromSeconds(30)));
        }

        await leave.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);

        var events = new List<string>();
        while (events.Count < 2 * n)
        {
            events.Add(await api.Runner.NextEventAsync());
        }

        Assert.Equal(n, events.Count(e => e == "cancelled"));
        Assert.Equal(0, api.Runner.Held);
    }

    [Fact]
    public async Task A_token_arrives_before_the_next_one_is_made()
    {
        await using var api = await ApiServer.StartAsync();
        var received = new SemaphoreSlim(0);
        api.Runner.OnRun = (_, cancellationToken) => OneByOne(received, cancellationToken);

        using var response = await api.PostAsync(Completions, """{"prompt":"a","stream":true}""");
        using var lines = new StreamReader(await response.Content.ReadAsStreamAsync());
        var text = "";
        while (await lines.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(30)) is { } line && line != "data: [DONE]")
        {
            if (line.Length > 0)
            {
                text += (string)JsonNode.Parse(line["data: ".Length..])!["choices"]![0]!["text"]!;
                received.Release();
            }
        }

        Assert.Equal("abcdefgh", text);
    }

    [Fact]
    public async Task A_slow_reader_holds_the_generation_back_and_loses_nothing()
    {
        await using var api = await ApiServer.StartAsync();
        const int Tokens = 300_000;
        var said = 0;
        api.Runner.OnRun = (_, cancellationToken) => Many(cancellationToken);

        using var response = await api.PostAsync(Completions, """{"prompt":"a","stream":true}""");
        for (var i = 0; i < 50; i++)
        {
            await api.Http.GetStringAsync("/v1/models");
        }

        Assert.InRange(Volatile.Read(ref said), 1, Tokens - 1);
        var events = ApiServer.Events(await response.Content.ReadAsStringAsync());
        Assert.Equal(Tokens + 1, events.Count);

        async IAsyncEnumerable<Chunk> Many([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            for (var i = 0; i < Tokens; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                Volatile.Write(ref said, i);
                yield return new() { Tokens = new[] { 'x' + 0 }, FinishReason = i == Tokens - 1 ? FinishReason.Length : null };
            }

            await Task.CompletedTask;
        }
    }

    [Theory]
    [InlineData("true")]
    [InlineData("false")]
    public async Task A_router_finishes_its_work_after_the_last_chunk_and_a_failure_there_spoils_nothing(string stream)
    {
        await using var api = await ApiServer.StartAsync();
        var workDone = 0;
        api.Runner.OnRun = (spec, cancellationToken) => SayThenWork(api.Runner, spec, cancellationToken);

        using var response = await api.PostAsync(Completions, """{"prompt":"a","n":2,"stream":""" + stream + "}");
        var body = await response.Content.ReadAsStringAsync();

        Assert.Equal((200, 2, false), ((int)response.StatusCode, workDone, body.Contains("error", StringComparison.Ordinal)));

        async IAsyncEnumerable<Chunk> SayThenWork(FakeRunner runner, RequestSpec spec, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            await foreach (var chunk in runner.Say(spec, "abc", cancellationToken))
            {
                yield return chunk;
            }

            await Task.Yield();
            Interlocked.Increment(ref workDone);
            throw new RouterFailedException("too late");
        }
    }

    private static async IAsyncEnumerable<Chunk> Fail(Exception e)
    {
        await Task.Yield();
        throw e;
#pragma warning disable CS0162 // makes the method an iterator
        yield break;
#pragma warning restore CS0162
    }

    private static async IAsyncEnumerable<Chunk> Chunks(Chunk[] chunks)
    {
        foreach (var chunk in chunks)
        {
            yield return chunk;
        }

        await Task.CompletedTask;
    }

    private static async IAsyncEnumerable<Chunk> SayThenFail(FakeRunner runner, RequestSpec spec, Exception failure, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var chunk in runner.Say(spec, "abc", cancellationToken))
        {
            if (chunk.FinishReason is null)
            {
                yield return chunk;
            }
        }

        throw failure;
    }

    private static async IAsyncEnumerable<Chunk> SayThenHang(FakeRunner runner, RequestSpec spec, SemaphoreSlim running, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var chunk in runner.Say(spec, "abc", cancellationToken))
        {
            if (chunk.FinishReason is null)
            {
                yield return chunk;
            }
        }

        running.Release();
        await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken);
    }

    private static async IAsyncEnumerable<Chunk> OneByOne(SemaphoreSlim received, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var i = 0; i < 8; i++)
        {
            yield return new() { Tokens = new[] { 'a' + i }, FinishReason = i == 7 ? FinishReason.Length : null };
            await received.WaitAsync(cancellationToken);
        }
    }
}
