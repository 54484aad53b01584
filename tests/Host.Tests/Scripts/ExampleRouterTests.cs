using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Scripting;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>What the routers of scripts/examples do. Each request's tokens are checked with its calls.</summary>
public sealed class ExampleRouterTests
{
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 5, 4, 12, 0, 0, TimeSpan.Zero));

    [Fact]
    public async Task Session_affinity_keeps_a_session_on_its_engine_until_that_is_far_busier()
    {
        await using var harness = await Harness("session_affinity", FakeFleet.OfEngines("a", "b", "c", "d"));
        var homes = new Dictionary<string, string>();
        foreach (var session in Enumerable.Range(0, 40).Select(i => $"s{i}"))
        {
            homes[session] = await EngineOf(harness, session);
            Assert.Equal(homes[session], await EngineOf(harness, session));
        }

        Assert.Equal(4, homes.Values.Distinct().Count());

        var home = harness.Fleet.Engines.Single(engine => engine.Id == homes["s7"]);
        home.InFlight = 8;
        Assert.Equal(home.Id, await EngineOf(harness, "s7"));
        home.InFlight = 9;
        Assert.NotEqual(home.Id, await EngineOf(harness, "s7"));
        Assert.NotEqual(home.Id, await EngineOf(harness, session: null));

        static async Task<string> EngineOf(CatalogHarness harness, string? session) =>
            Assert.Single(await Serve(harness, new FakeRequest(10, headers: session is null ? [] : [("x-session", session)]))).Split('.')[0];
    }

    [Theory]
    [InlineData(200, 0, 100, "a")]
    [InlineData(200, 0, 300, "b")]
    [InlineData(200, 150, 100, "b")]
    [InlineData(0, 0, 0, "a")]
    public async Task Longest_prefix_gives_way_when_waiting_would_cost_more_than_computing(int held, int there, int queued, string chosen)
    {
        await using var harness = await Harness("longest_prefix", FakeFleet.OfEngines("a", "b"));
        var (a, b) = (harness.Fleet.Engines[0], harness.Fleet.Engines[1]);
        (a.Cached, a.Queued, a.InFlight, b.Cached) = (held, queued, queued > 0 ? 1 : 0, there);
        Assert.Equal([$"{chosen}.StartGenerate()"], await Serve(harness, new FakeRequest(500)));
    }

    [Fact]
    public async Task Slo_aware_takes_the_soonest_engine_and_refuses_what_none_can_serve_in_time()
    {
        await using var harness = await Harness("slo_aware", FakeFleet.OfEngines("a", "b"));
        var (a, b) = (harness.Fleet.Engines[0], harness.Fleet.Engines[1]);
        (a.Queued, b.Queued, b.Cached) = (100, 150, 80);

        // 1 ms a token: 200 ms on a, 170 ms on b.
        Assert.Equal(["b.StartGenerate()"], await Serve(harness, Within(170)));
        (b.Queued, b.Cached) = (300, 0);
        var refused = await Assert.ThrowsAsync<EngineException>(() => harness.Serve(Within(150)));
        Assert.Equal((EngineError.Overloaded, "a"), (refused.Error, refused.EngineId));
        Assert.InRange(refused.RetryAfter!.Value, TimeSpan.FromMilliseconds(150), TimeSpan.FromMilliseconds(200));

        // Forty requests whose first token was there at once: the same work is expected to take less.
        for (var i = 0; i < 40; i++)
        {
            await harness.Serve(new FakeRequest(100));
        }

        harness.Fleet.Calls.Clear();
        Assert.Equal(["a.StartGenerate()"], await Serve(harness, Within(150)));

        static FakeRequest Within(int milliseconds) => new(100, headers: ("X-Slo-Ttft-Ms", $"{milliseconds}"));
    }

    [Fact]
    public async Task Priority_lets_the_important_go_first_and_nobody_starve()
    {
        await using var harness = await Harness("priority", FakeFleet.OfEngines("a"), new() { ["slots"] = "1", ["yield_seconds"] = "10" });
        var engine = harness.Fleet.Engines[0];
        var running = new TaskCompletionSource();
        engine.Hold = running.Task;
        var all = new List<Task> { Send("first", "high") };
        all.Add(Send("low", "low"));
        all.Add(Send("normal", null));
        all.Add(Send("high", "high"));

        // More than two classes later, the low one is no longer overtaken.
        _time.Advance(TimeSpan.FromSeconds(21));
        all.Add(Send("late", "high"));
        Assert.Equal(["a.StartGenerate()"], harness.Fleet.Calls);

        running.SetResult();
        await Task.WhenAll(all);
        Assert.Equal(["first", "high", "normal", "low", "late"], harness.Fleet.Generated.Select(request => request.Id));
        Assert.Equal(5, harness.Fleet.Calls.Count);

        Task Send(string name, string? priority) => harness.Serve(new FakeRequest(10, name, headers: priority is null ? [] : [("X-Priority", priority)]));
    }

    [Fact]
    public async Task Those_who_wait_keep_their_place_over_a_swap_and_a_client_that_leaves_gives_it_up()
    {
        await using var harness = await Harness("priority", FakeFleet.OfEngines("a"), new() { ["slots"] = "1" });
        var running = new TaskCompletionSource();
        harness.Fleet.Engines[0].Hold = running.Task;
        using var leaves = new CancellationTokenSource();
        var (first, second, third) = (harness.Serve(), harness.Serve(new FakeRequest(10, cancelled: leaves.Token)), harness.Serve());

        var source = await File.ReadAllTextAsync(TestPaths.InRepository("scripts", "examples", "priority.csx"));
        await harness.MustPut(source + "// another version", "priority", options: new Dictionary<string, string> { ["slots"] = "1" });
        var fourth = harness.Serve();
        await leaves.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        Assert.Single(harness.Fleet.Calls);

        running.SetResult();
        Assert.All(await Task.WhenAll(first, third, fourth), tokens => Assert.Equal([1, 2, 3], tokens));
    }

    [Fact]
    public async Task Hedged_begins_on_a_second_engine_after_the_95th_percentile_and_stops_the_loser()
    {
        await using var harness = await Harness("hedged", FakeFleet.OfEngines("a", "b"));
        var (a, b) = (harness.Fleet.Engines[0], harness.Fleet.Engines[1]);
        harness.Traffic.FirstToken = new Distribution(100, 0.1, 0.1, 0.3, 0.9);
        a.HoldFirst = new TaskCompletionSource().Task;

        var serving = harness.Serve();
        _time.Advance(TimeSpan.FromMilliseconds(299));
        await Task.Yield();
        Assert.Equal(["a.StartGenerate()"], harness.Fleet.Calls);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.Equal([1, 2, 3], await serving.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal(["a.StartGenerate()", "b.StartGenerate()"], harness.Fleet.Calls);
        await FakeWorld.Eventually(() => a.Generating == 0 && b.Generating == 0);
    }

    [Fact]
    public async Task Hedged_stops_the_second_engine_when_the_first_wins_after_all_and_survives_a_failure_of_either()
    {
        await using var harness = await Harness("hedged", FakeFleet.OfEngines("a", "b"), new() { ["hedge_ms"] = "100" });
        var (a, b) = (harness.Fleet.Engines[0], harness.Fleet.Engines[1]);
        var late = new TaskCompletionSource();
        (a.HoldFirst, b.HoldFirst) = (late.Task, new TaskCompletionSource().Task);
        var serving = harness.Serve();
        _time.Advance(TimeSpan.FromMilliseconds(100));
        await FakeWorld.Eventually(() => b.Generating == 1);
        late.SetResult();
        Assert.Equal([1, 2, 3], await serving.WaitAsync(TimeSpan.FromSeconds(30)));
        await FakeWorld.Eventually(() => a.Generating == 0 && b.Generating == 0);

        // The first fails before the time is over: the second begins at once.
        (a.HoldFirst, b.HoldFirst, a.Fails) = (null, null, new EngineException("a", EngineError.Unavailable, "gone"));
        Assert.Equal([1, 2, 3], await harness.Serve().WaitAsync(TimeSpan.FromSeconds(30)));

        b.Fails = new EngineException("b", EngineError.Unavailable, "gone too");
        Assert.Equal("a", (await Assert.ThrowsAsync<EngineException>(() => harness.Serve().WaitAsync(TimeSpan.FromSeconds(30)))).EngineId);
        Assert.Equal((0, 0), (a.Generating, b.Generating));
    }

    [Theory]
    [InlineData(300, 0, new[] { "d.PrepRecv(end: 299)", "p.RemoteSend(to: d, 0..299)", "d.StartGenerate(kv: 299)" })]
    [InlineData(300, 40, new[] { "d.PrepRecv(end: 299)", "p.RemoteSend(to: d, 40..299)", "d.StartGenerate(kv: 299)" })]
    [InlineData(300, 44, new[] { "d.StartGenerate()" })]
    [InlineData(200, 0, new[] { "d.StartGenerate()" })]
    [InlineData(1, 0, new[] { "d.StartGenerate()" })]
    public async Task Conditional_disaggregation_skips_the_prefill_engine_for_the_short_and_the_cached(int length, int cached, string[] calls)
    {
        await using var harness = await Harness("conditional_pd", FakeFleet.PrefillAndDecode());
        harness.Fleet.Engines[1].Cached = cached;
        Assert.Equal(calls, await Serve(harness, new FakeRequest(length)));
    }

    [Fact]
    public async Task Context_warmup_copies_the_prompt_to_every_other_engine_when_asked()
    {
        await using var harness = await Harness("context_warmup", FakeFleet.OfEngines("a", "b", "c"));
        harness.Fleet.Engines[1].Cached = 32;
        Assert.Equal(
            [
                "a.PrepRecv(end: 99)", "b.RemoteSend(to: a, 0..99)", "a.Release()",
                "c.PrepRecv(end: 99)", "b.RemoteSend(to: c, 0..99)", "c.Release()",
                "b.StartGenerate()",
            ],
            await Serve(harness, new FakeRequest(100, headers: ("X-Warm-Up", ""))));
        Assert.Equal(["b.StartGenerate()"], await Serve(harness, new FakeRequest(100)));
    }

    [Theory]
    [InlineData(-0.1f, new[] { "s.StartGenerate()" })]
    [InlineData(-2f, new[] { "s.StartGenerate()", "l.StartGenerate()" })]
    public async Task Cascade_answers_from_the_large_model_where_the_small_one_is_unsure(float logprob, string[] calls)
    {
        await using var harness = await Harness("cascade", FakeFleet.Of(new FakeEngine("s", "small"), new FakeEngine("l")), new() { ["look"] = "2" });
        harness.Fleet.Engines[0].Logprob = logprob;
        Assert.Equal(calls, await Serve(harness, new FakeRequest(10)));
        Assert.Equal((0, 0), (harness.Fleet.Engines[0].Generating, harness.Fleet.Engines[1].Generating));

        // What the client did not ask for, it does not get.
        using var lease = harness.Catalog.Acquire(null);
        await foreach (var chunk in lease.HandleRequest(new FakeRequest(10)))
        {
            Assert.Empty(chunk.Logprobs);
        }
    }

    [Fact]
    public async Task Fair_share_serves_a_light_tenant_beside_a_flood_of_another_and_by_weight()
    {
        await using var harness = await Harness("fair_share", FakeFleet.OfEngines("a"), new() { ["slots"] = "1", ["weight.gold"] = "3" });
        var running = new TaskCompletionSource();
        harness.Fleet.Engines[0].Hold = running.Task;
        List<Task> all = [Send("first"), .. Enumerable.Range(0, 9).Select(_ => Send("flood")), Send("light"), .. Enumerable.Range(0, 6).Select(_ => Send("gold"))];
        running.SetResult();
        await Task.WhenAll(all);
        var order = harness.Fleet.Generated.Select(request => request.Headers["X-Tenant"]).ToList();

        // Each of the flood has to wait for the others' first, and gold has three turns to each of the flood's.
        Assert.InRange(order.IndexOf("light"), 1, 4);
        Assert.InRange(order.TakeWhile((name, i) => order.Take(i + 1).Count(other => other == "gold") < 6).Count(name => name == "flood"), 1, 3);
        Assert.Equal(17, order.Count);

        Task Send(string tenant) => harness.Serve(new FakeRequest(100, headers: ("X-Tenant", tenant)));
    }

    [Theory]
    [InlineData(12, "day")]
    [InlineData(23, "night")]
    [InlineData(2, "night")]
    [InlineData(6, "day")]
    public async Task Time_of_day_uses_the_night_engines_at_night(int hour, string chosen)
    {
        _time.SetUtcNow(new DateTimeOffset(2026, 5, 5, hour, 0, 0, TimeSpan.Zero));
        _time.SetLocalTimeZone(TimeZoneInfo.Utc);
        await using var harness = await Harness("time_of_day", FakeFleet.Of(new FakeEngine("day"), new FakeEngine("night", "night")));
        harness.Fleet.Engines[0].InFlight = 1;
        Assert.Equal([$"{chosen}.StartGenerate()"], await Serve(harness, new FakeRequest(10)));
    }

    private async Task<CatalogHarness> Harness(string name, FakeFleet fleet, Dictionary<string, string>? options = null)
    {
        var harness = new CatalogHarness(fleet: fleet, time: _time, defaultRouter: name);
        await harness.PutShipped("examples/" + name, options);
        return harness;
    }

    /// <summary>The calls that a request made.</summary>
    private static async Task<string[]> Serve(CatalogHarness harness, Request request)
    {
        harness.Fleet.Calls.Clear();
        Assert.Equal([1, 2, 3], await harness.Serve(request));
        return [.. harness.Fleet.Calls];
    }
}
