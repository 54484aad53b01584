using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Tests.Engines;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>What one request may use, and what it used.</summary>
public sealed class BudgetTests
{
    [Theory]
    [InlineData("for (var i = 0; ; i++) await Fleet[0].PrepRecv(request);")]
    [InlineData("for (var i = 0; ; i++) { try { await Fleet[0].PrepRecv(request); } catch (Exception) { } }")]
    [InlineData("for (var i = 0; ; i++) { var kv = await Fleet[0].PrepRecv(request); await Fleet[1].RemoteSend(request, kv); await kv.Release(); }")]
    [InlineData("for (var i = 0; ; i++) await foreach (var chunk in Fleet[0].StartGenerate(request)) break;")]
    public async Task A_request_makes_no_more_sub_calls_than_it_may(string calls)
    {
        var engines = new[] { new FakeEngine("a"), new FakeEngine("b") };
        await using var world = await ScriptedWorld.WithAsync(
            $"async IAsyncEnumerable<Chunk> HandleRequest(Request request)\n{{\n    {calls}\n    yield break;\n}}", engines, new ScriptLimits { SubCalls = 10 });

        var trace = await world.TraceAsync();

        Assert.Equal((CallOutcome.Failed, RequestFault.Limit), (trace.Outcome, trace.Fault));
        Assert.Equal("Router main@1 failed: main.csx(3): stopped: main@1 made more than 10 calls on engines for one request (setting script-subcalls)", trace.Error);
        Assert.Equal(10, engines.SelectMany(engine => engine.CallNames).Count(name => name is "PrepRecv" or "RemoteSend" or "StartGenerate"));
        await FakeWorld.Eventually(() => engines.All(engine => engine is { Reservations: 0, Generating: 0 }));
    }

    [Theory]
    [InlineData("while (true) yield return new Chunk { Tokens = Array.Empty<int>() };")]
    [InlineData("while (true) await Task.Yield();")]
    public async Task A_script_that_gives_its_thread_back_over_and_over_is_stopped_by_its_time_in_all(string loop)
    {
        await using var world = await ScriptedWorld.WithAsync(
            $"async IAsyncEnumerable<Chunk> HandleRequest(Request request)\n{{\n    {loop}\n    yield break;\n}}", limits: new ScriptLimits { RequestMs = 50 });

        var trace = await world.TraceAsync();

        Assert.Equal(RequestFault.Limit, trace.Fault);
        Assert.Contains("main.csx(3): stopped: main@1 ran for more than 50 ms in all for one request (setting script-request-ms)", trace.Error, StringComparison.Ordinal);
        Assert.InRange(trace.ThreadTime.TotalMilliseconds, 25, 60_000);
    }

    [Fact]
    public async Task A_script_that_yields_nothing_for_ever_ends_with_its_deadline()
    {
        await using var world = await ScriptedWorld.WithAsync(
            "async IAsyncEnumerable<Chunk> HandleRequest(Request request) { Log.Info(\"runs\"); while (true) yield return new Chunk { Tokens = Array.Empty<int>() }; }",
            limits: new ScriptLimits { RequestMs = 3_600_000 });
        var running = Task.Run(() => world.TraceAsync(world.World.Spec(deadline: world.World.Time.GetUtcNow() + TimeSpan.FromSeconds(30))));
        await world.Log.WaitFor("runs");
        world.World.Time.Advance(TimeSpan.FromSeconds(30));

        var trace = await running;

        Assert.Equal((CallOutcome.Failed, RequestFault.Timeout), (trace.Outcome, trace.Fault));
        Assert.Contains("deadline", trace.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_script_allocates_is_told_and_what_the_host_allocates_for_it_is_not()
    {
        const string Script = """
            byte[] kept;
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                kept = request.Length > 10 ? new byte[8 << 20] : null;
                await foreach (var chunk in Fleet.LeastLoaded().StartGenerate(request))
                {
                    kept = request.Length > 10 ? new byte[1 << 20] : null;
                    yield return chunk;
                }
            }
            """;
        await using var world = await ScriptedWorld.WithAsync(Script);
        await world.TraceAsync();

        var (large, small) = (await world.TraceAsync(world.World.Spec(promptTokens: 11, maxTokens: 4)), await world.TraceAsync(world.World.Spec(promptTokens: 10, maxTokens: 4)));

        Assert.InRange(large.AllocatedBytes, 12L << 20, 13L << 20);
        Assert.InRange(small.AllocatedBytes, 100, 16 << 10);
    }

    [Theory]
    [InlineData("await Task.Delay(TimeSpan.FromSeconds(5), Time);", 3_600_000)]
    [InlineData("await Task.Delay(TimeSpan.FromSeconds(5), Time);", 2_000)]
    [InlineData("for (var until = Time.GetUtcNow().AddSeconds(5); Time.GetUtcNow() < until; ) { }", 2_000)]
    public async Task A_plan_that_takes_longer_than_its_interval_or_limit_is_never_called_twice_at_once_and_what_was_due_meanwhile_is_counted(string takesFiveSeconds, int limitMs)
    {
        var slow = $$"""
            int planning;
            async Task PlanStrategy()
            {
                Log.Info(Interlocked.Increment(ref planning) == 1 ? "plans" : "plans beside another");
                {{takesFiveSeconds}}
                Interlocked.Decrement(ref planning);
            }

            IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);
            """;
        await using var world = await ScriptedWorld.WithAsync(slow, limits: new ScriptLimits { PlanIntervalMs = 1000, PlanLimitMs = limitMs, BudgetMs = 60_000 });
        var began = world.World.Time.GetTimestamp();
        await world.World.EventuallyAsTimePasses(() => world.Log.Lines.Count(line => line.Contains("plans", StringComparison.Ordinal)) >= 3, TimeSpan.FromMilliseconds(250));

        // Two calls are over, of five intervals at least; how much longer each took is up to the threads of this machine, and none of it is counted twice.
        var due = (long)world.World.Time.GetElapsedTime(began).TotalSeconds;
        Assert.InRange(world.Routers.List().Single().Versions[0].PlansSkipped, 8, due - 2);
        Assert.DoesNotContain(world.Log.Lines, line => line.Contains("beside another", StringComparison.Ordinal));
    }

    public static TheoryData<string, RequestFault> Failures => new()
    {
        { "throw new Exception(\"oops\");", RequestFault.Script },
        { "while (true) { }", RequestFault.Limit },
        { "yield break;", RequestFault.Contract },
        { "throw new EngineException(\"e\", EngineError.Invalid, \"no\");", RequestFault.Client },
        { "throw new EngineException(\"e\", EngineError.Overloaded, \"no\");", RequestFault.Overloaded },
        { "throw new EngineException(\"e\", EngineError.Unavailable, \"no\");", RequestFault.Engine },
    };

    [Theory]
    [MemberData(nameof(Failures))]
    public async Task A_failure_is_told_apart_by_whose_it_is(string body, RequestFault fault)
    {
        await using var world = await ScriptedWorld.WithAsync(
            $"async IAsyncEnumerable<Chunk> HandleRequest(Request request) {{ await Task.Yield(); {body}\nyield break; }}", limits: new ScriptLimits { BudgetMs = 20 });
        var trace = await world.TraceAsync();
        Assert.Equal((CallOutcome.Failed, fault), (trace.Outcome, trace.Fault));
    }
}
