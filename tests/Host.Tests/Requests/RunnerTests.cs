using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Scripting;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Tests.Requests;

public sealed class RunnerTests
{
    [Fact]
    public async Task A_disaggregated_request_streams_its_tokens_and_its_trace_lists_every_sub_call()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b") { Matched = 4 });
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => HoldsTests.Disaggregated(world, request);
        var spec = world.Spec(promptTokens: 10, maxTokens: 3);

        Assert.Equal([100, 101, 102], await world.RunAsync(spec));

        var trace = Assert.Single(world.Traces.Find(spec.Id));
        Assert.Equal((CallOutcome.Ok, "test@3", 10, 3, FinishReason.Length), (trace.Outcome, trace.Router, trace.PromptTokens, trace.OutputTokens, trace.FinishReason));
        Assert.Collection(
            trace.Calls,
            prep => Assert.Equal(("engine-1", "PrepRecv", 0, 9, 4), (prep.Engine, prep.Call, prep.Begin, prep.End, prep.MatchedTokens)),
            send => Assert.Equal(("engine-0", "RemoteSend", 4, 9, "engine-1", 5, 5000L, "shm"), (send.Engine, send.Call, send.Begin, send.End, send.To, send.SentTokens, send.Bytes, send.Transport)),
            generate => Assert.Equal(("engine-1", "StartGenerate", 9, 10, 3, 9), (generate.Engine, generate.Call, generate.Begin, generate.End, generate.OutputTokens, generate.CachedTokens)));
        Assert.All(trace.Calls, call => Assert.Equal(CallOutcome.Ok, call.Outcome));
    }

    [Fact]
    public async Task A_full_match_sends_nothing_and_says_so()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b") { Matched = 100 });
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => HoldsTests.Disaggregated(world, request);

        await world.RunAsync();

        Assert.DoesNotContain("RemoteSend", a.CallNames);
        var skipped = world.Traces.Recent(1)[0].Calls[1];
        Assert.Equal((CallOutcome.Skipped, "nothing to send", 0L), (skipped.Outcome, skipped.Error, skipped.Bytes));
    }

    [Fact]
    public async Task An_engine_does_not_send_to_itself_but_computes_in_place()
    {
        var only = new FakeEngine("a");
        await using var world = await FakeWorld.WithAsync(only);
        world.Router = Disaggregated;

        Assert.Equal([100, 101, 102, 103], await world.RunAsync());

        Assert.Equal(["PrepRecv", "Release", "StartGenerate"], only.CallNames.Where(name => name is not ("GetStatus" or "WatchStatus")));
        Assert.Equal("", only.Last<Wire.StartGenerateRequest>().ReservationId);
        Assert.Equal(0, only.Reservations);

        async IAsyncEnumerable<Chunk> Disaggregated(Request request)
        {
            var (prefill, decode) = (world.Fleet.Scripts.Role("prefill").LeastLoaded(), world.Fleet.Scripts.Role("decode").LeastLoaded());
            var kv = await decode.PrepRecv(request, end: -1);
            await prefill.RemoteSend(request, kv);
            await foreach (var chunk in decode.StartGenerate(request, kv))
            {
                yield return chunk;
            }
        }
    }

    public static TheoryData<string, string> BrokenRouters => new()
    {
        { "after finish", "Router test@3 yielded a chunk after the one with finish reason Stop." },
        { "too many", "Router test@3 yielded 5 tokens; the request allows 4." },
        { "no finish", "Router test@3 ended its stream after 1 tokens without a finish reason." },
        { "foreign token", "Router test@3 yielded token id 1000; the vocabulary has 1000." },
        { "null", "Router test@3 yielded null instead of a chunk." },
        { "throws", "Router test@3 failed: InvalidDataException: as planned" },
        { "window", "Router test@3 failed: ArgumentOutOfRangeException: PrepRecv: end = 11 is outside the request's 10 tokens (allowed: -10 to 10)." },
    };

    [Theory]
    [MemberData(nameof(BrokenRouters))]
    public async Task A_router_that_breaks_the_contract_fails_by_name(string fault, string message)
    {
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"));
        world.Router = Broken;

        var error = await Assert.ThrowsAsync<RouterFailedException>(() => world.RunAsync());

        Assert.StartsWith(message, error.Message, StringComparison.Ordinal);
        var trace = world.Traces.Recent(1)[0];
        Assert.Equal((CallOutcome.Failed, error.Message), (trace.Outcome, trace.Error));

        async IAsyncEnumerable<Chunk> Broken(Request request)
        {
            await Task.Yield();
            yield return new Chunk { Tokens = new[] { fault == "foreign token" ? 1000 : 1 } };
            switch (fault)
            {
                case "after finish":
                    yield return new Chunk { Tokens = new[] { 2 }, FinishReason = FinishReason.Stop };
                    yield return new Chunk { Tokens = new[] { 3 } };
                    break;
                case "too many":
                    yield return new Chunk { Tokens = new[] { 2, 3, 4, 5 }, FinishReason = FinishReason.Length };
                    break;
                case "null":
                    yield return null!;
                    break;
                case "throws":
                    throw new InvalidDataException("as planned");
                case "window":
                    await world.Fleet.Scripts[0].PrepRecv(request, end: 11);
                    break;
            }
        }
    }

    [Fact]
    public async Task A_continued_request_tells_the_engine_how_much_of_it_is_prompt()
    {
        var engine = new FakeEngine("a");
        await using var world = await FakeWorld.WithAsync(engine);
        var spec = world.Spec(promptTokens: 10, maxTokens: 4);
        using var scope = new RequestScope(world.Time, TimeSpan.FromSeconds(1));
        var trace = new RequestTrace(spec.Id, "test@3", 10, world.Time);
        var request = new HostRequest(spec, emitted: new[] { 100, 101 }, trace, scope);

        var tokens = new List<int>();
        await foreach (var chunk in world.Fleet.Scripts.LeastLoaded().StartGenerate(request))
        {
            tokens.AddRange(chunk.Tokens.Span);
        }

        Assert.Equal([102, 103], tokens);
        var sent = engine.Last<Wire.StartGenerateRequest>();
        Assert.Equal((12, 10), (sent.TokenIds.Count, sent.Resume.PromptTokens));
    }

    [Fact]
    public async Task Traffic_of_the_last_minute_is_told_and_then_forgotten()
    {
        var engine = new FakeEngine("a");
        await using var world = await FakeWorld.WithAsync(engine);
        engine.BeforeToken = (_, _) =>
        {
            world.Time.Advance(TimeSpan.FromSeconds(1));
            return Task.CompletedTask;
        };

        await world.RunAsync(world.Spec(promptTokens: 12, maxTokens: 4));
        world.Time.Advance(TimeSpan.FromSeconds(1));

        RouterTraffic traffic = world.Traffic;
        Assert.Equal((12d, 4d, 3d), (traffic.PromptTokens.Mean, traffic.OutputTokens.Mean, traffic.PrefillDecodeRatio));
        Assert.Equal((1d, 1d, 4d), (traffic.Ttft.Mean, traffic.Tpot.Mean, traffic.Jct.Mean));
        Assert.Equal(1d / 5, traffic.ArrivalRate, 3);
        world.Time.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal((0d, 0L, 0d), (traffic.ArrivalRate, traffic.Jct.Count, traffic.PrefillDecodeRatio));
    }

    [Fact]
    public void Choices_of_one_client_request_are_found_together_and_the_oldest_traces_are_forgotten()
    {
        var time = TimeProvider.System;
        var store = new TraceStore(new TraceSettings { Requests = 3 });
        foreach (var id in new[] { "req-old", "req-7af", "req-7af-1", "req-7af-2" })
        {
            var trace = new RequestTrace(id, "r@1", 1, time);
            store.Add(trace);
            store.Ended(trace);
        }

        Assert.Empty(store.Find("req-old"));
        Assert.Equal(["req-7af", "req-7af-1", "req-7af-2"], store.Find("req-7af").Select(trace => trace.Id));
        Assert.Equal(["req-7af-2"], store.Find("req-7af-2").Select(trace => trace.Id));
        Assert.Equal("req-123", TraceStore.BaseId("req-123"));
    }
}
