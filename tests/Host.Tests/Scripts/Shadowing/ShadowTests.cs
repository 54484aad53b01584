using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Shadowing;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Host.Tests.Requests;

namespace ScriptedServe.Host.Tests.Scripts.Shadowing;

/// <summary>A shadow decides over the same requests and touches nothing.</summary>
public sealed class ShadowTests
{
    private const string Served = """
        async IAsyncEnumerable<Chunk> HandleRequest(Request request)
        {
            var (prefill, decode) = (Fleet.Role("prefill").LeastLoaded(), Fleet.Role("decode").LeastLoaded());
            var kv = await decode.PrepRecv(request, end: -1);
            await prefill.RemoteSend(request, kv);
            await foreach (var chunk in decode.StartGenerate(request, kv)) yield return chunk;
        }
        """;

    public static TheoryData<string, string, string> Shadows => new()
    {
        { "the same text", Served, "None" },
        { "another way to the same", Served.Replace("end: -1", "end: request.Length - 1", StringComparison.Ordinal), "None" },
        { "another split", Served.Replace("end: -1", "end: -3", StringComparison.Ordinal), "Split" },
        { "engines swapped", Served.Replace("\"decode\"", "\"x\"", StringComparison.Ordinal).Replace("\"prefill\"", "\"decode\"", StringComparison.Ordinal).Replace("\"x\"", "\"prefill\"", StringComparison.Ordinal), "Engine" },
        { "fewer calls", "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.Find(\"engine-1\").StartGenerate(request);", "Calls" },
        { "throws", "IAsyncEnumerable<Chunk> HandleRequest(Request request) => throw new Exception(\"oops\");", "Failed" },
        { "runs away", "async IAsyncEnumerable<Chunk> HandleRequest(Request request) { await Task.Yield(); while (true) { } yield break; }", "Failed" },
        { "calls without end", "async IAsyncEnumerable<Chunk> HandleRequest(Request request) { while (true) await Fleet[0].PrepRecv(request); yield break; }", "Failed" },
        { "says nothing", "async IAsyncEnumerable<Chunk> HandleRequest(Request request) { await Task.Yield(); yield break; }", "Failed" },
        { "sees what was seen", Served.Replace("var kv", "if (decode.Load.FreePages != 64 || decode.CachedTokens(request) != 0 || Fleet.Count != 2) throw new Exception(\"other loads\"); var kv", StringComparison.Ordinal), "None" },
    };

    [Theory]
    [MemberData(nameof(Shadows))]
    public async Task A_shadow_is_compared_by_its_decisions_and_makes_no_call(string what, string shadow, string expected)
    {
        var engines = new[] { new Engines.FakeEngine("a"), new Engines.FakeEngine("b") };
        await using var world = await ScriptedWorld.WithAsync(Served, engines, new ScriptLimits { BudgetMs = 50 }, labels: ["prefill", "decode"]);
        var version = await world.PutAsync(shadow + "\n// " + what, activate: false);
        await using var shadows = Shadowing(world);
        await shadows.StartAsync("main", version.Version, 100, CancellationToken.None);

        for (var i = 0; i < 5; i++)
        {
            Assert.Equal(CallOutcome.Ok, (await world.TraceAsync()).Outcome);
        }

        await FakeWorld.Eventually(() => shadows.View("main")!.Compared == 5);
        var view = shadows.View("main")!;
        var difference = Enum.Parse<ShadowDifference>(expected);
        Assert.Equal(difference == ShadowDifference.None ? 5 : 0, view.Same);
        Assert.All(view.Different, kind => Assert.Equal(kind.Key == difference ? 5 : 0, kind.Value));
        Assert.All(view.Differences, sample => Assert.Equal(3, sample.ServedCalls.Count));

        // Ten calls for five requests on each engine, and not one more; nothing is held, and no figure of a version that serves has moved.
        Assert.Equal(15, engines.SelectMany(engine => engine.CallNames).Count(name => name is "PrepRecv" or "RemoteSend" or "StartGenerate"));
        Assert.All(world.World.Fleet.Members, member => Assert.Equal(0, member.Work.Calls));
        var versions = world.Routers.List().Single().Versions;
        Assert.All(versions, known => Assert.Equal(0, known.Errors));
        Assert.Equal((0, 5), (versions.Single(known => known.Version == version.Version).Requests, versions.Single(known => known.Version == 1).Requests));
        Assert.Equal(5, world.World.Traces.Recent(100).Count);
    }

    [Fact]
    public async Task A_shadow_has_a_state_of_its_own_and_its_log_stays_out_of_the_operators()
    {
        const string Counting = """
            IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                State.Set("n", State.GetOrAdd("n", () => 0) + 1);
                Log.Info($"{{who}} counts {State.GetOrAdd("n", () => 0)}");
                return Fleet.{{choice}}.StartGenerate(request);
            }
            """;
        await using var world = await ScriptedWorld.WithAsync(Counting.Replace("{{who}}", "served", StringComparison.Ordinal).Replace("{{choice}}", "LeastLoaded()", StringComparison.Ordinal));
        var version = await world.PutAsync(Counting.Replace("{{who}}", "shadow", StringComparison.Ordinal).Replace("{{choice}}", "Find(\"none\")", StringComparison.Ordinal), activate: false);
        await using var shadows = Shadowing(world);
        await shadows.StartAsync("main", version.Version, 100, CancellationToken.None);
        await world.TraceAsync();
        await FakeWorld.Eventually(() => shadows.View("main")!.Compared == 1);
        await world.TraceAsync();
        await FakeWorld.Eventually(() => shadows.View("main")!.Compared == 2);

        Assert.Equal(["shadow counts 2"], shadows.View("main")!.Differences[0].Log);
        Assert.Contains(world.Log.Lines, line => line.Contains("served counts 2", StringComparison.Ordinal));
        Assert.DoesNotContain(world.Log.Lines, line => line.Contains("served counts 3", StringComparison.Ordinal) || line.Contains("shadow counts", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_shadow_that_is_stuck_holds_up_nothing_and_what_does_not_fit_is_counted()
    {
        await using var world = await ScriptedWorld.WithAsync(CatalogHarness.Good);
        var version = await world.PutAsync("async IAsyncEnumerable<Chunk> HandleRequest(Request request) { await new TaskCompletionSource().Task; yield break; }", activate: false);
        await using var shadows = Shadowing(world);
        await shadows.StartAsync("main", version.Version, 100, CancellationToken.None);
        for (var i = 0; i < 300; i++)
        {
            Assert.Equal(CallOutcome.Ok, (await world.TraceAsync()).Outcome);
        }

        var view = shadows.View("main")!;
        Assert.Equal(300, view.Taken);
        Assert.InRange(view.Dropped, 300 - 256 - 2, 300 - 256);
        await world.World.EventuallyAsTimePasses(() => shadows.View("main")!.Compared > 1, TimeSpan.FromSeconds(1));
        Assert.Contains("did not end within 5 s", shadows.View("main")!.Differences[0].Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_sample_is_about_as_large_as_asked_and_what_failed_or_was_served_by_the_same_version_is_not_compared()
    {
        await using var world = await ScriptedWorld.WithAsync(CatalogHarness.Good);
        var version = await world.PutAsync(CatalogHarness.Good + "\n// newer", activate: false);
        await using var shadows = Shadowing(world);
        await shadows.StartAsync("main", version.Version, 30, CancellationToken.None);
        for (var i = 0; i < 400; i++)
        {
            await world.TraceAsync();
        }

        Assert.InRange(shadows.View("main")!.Taken, 80, 160);
        await shadows.StartAsync("main", version.Version, 100, CancellationToken.None);
        await world.TraceAsync(world.World.Spec(router: $"main@{version.Version}"));
        Assert.Equal(0, shadows.View("main")!.Taken);
        await world.PutAsync("IAsyncEnumerable<Chunk> HandleRequest(Request request) => throw new Exception();");
        await world.TraceAsync();
        Assert.Equal((1, 1), (shadows.View("main")!.Taken, shadows.View("main")!.Skipped));

        Assert.Equal(1, (await shadows.StopAsync("main", CancellationToken.None))!.Taken);
        Assert.Null(shadows.View("main"));
        Assert.Equal(RouterRefusal.NotFound, (await Assert.ThrowsAsync<RouterRefusedException>(() => shadows.StartAsync("main", 99, 10, CancellationToken.None))).Refusal);
    }

    private static ShadowRouters Shadowing(ScriptedWorld world)
    {
        var shadows = new ShadowRouters(world.Routers, world.Limits, world.World.Fleet.Scripts, world.World.Traffic, world.World.Time, TimeProvider.System, world.Events);
        world.World.Recorder = shadows;
        return shadows;
    }
}
