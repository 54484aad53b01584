using System.Runtime.CompilerServices;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>Whatever way a request ends, engines hold nothing for it, the router is unpinned and the load is counted down.</summary>
public sealed class HoldsTests
{
    private static readonly Func<int, CancellationToken, Task> Never = static (_, token) => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, token);

    public static TheoryData<string> Routers => ["forgets", "throws", "abandons", "sends and throws", "does not await", "throws when told"];

    [Theory]
    [MemberData(nameof(Routers))]
    public async Task A_router_that_leaves_things_behind_leaves_nothing_on_engines(string fault)
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => Faulty(world, request, fault);

        await Record.ExceptionAsync(() => world.RunAsync());

        await AssertNothingHeld(world, a, b);
    }

    [Theory]
    [InlineData("PrepRecv")]
    [InlineData("RemoteSend")]
    [InlineData("StartGenerate")]
    public async Task A_client_that_leaves_ends_the_call_under_way_and_frees_what_was_reserved(string during)
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => Disaggregated(world, request);
        var reached = Hang(during, a, b);
        using var client = new CancellationTokenSource();

        var run = world.RunAsync(cancellationToken: client.Token);
        await reached.Task;
        await client.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        await AssertNothingHeld(world, a, b);
        Assert.Equal(CallOutcome.Cancelled, world.Traces.Recent(1)[0].Outcome);
    }

    [Theory]
    [InlineData("PrepRecv")]
    [InlineData("RemoteSend")]
    [InlineData("StartGenerate")]
    public async Task A_deadline_ends_the_request_with_an_error_that_names_it(string during)
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => Disaggregated(world, request);
        var reached = Hang(during, a, b);

        var run = world.RunAsync(world.Spec(deadline: world.Time.GetUtcNow() + TimeSpan.FromSeconds(30)));
        await reached.Task;
        world.Time.Advance(TimeSpan.FromSeconds(30));

        var error = await Assert.ThrowsAsync<EngineException>(() => run);
        Assert.Equal(EngineError.Cancelled, error.Error);
        Assert.Contains("deadline", error.Message, StringComparison.Ordinal);
        await AssertNothingHeld(world, a, b);
    }

    [Fact]
    public async Task A_client_that_has_stopped_reading_holds_nothing_on_engines_past_the_deadline()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => Disaggregated(world, request);

        await using var running = world.Runner.Start(world.Spec(deadline: world.Time.GetUtcNow() + TimeSpan.FromSeconds(30)));
        await using var chunks = running.Chunks(CancellationToken.None).GetAsyncEnumerator();
        Assert.True(await chunks.MoveNextAsync());
        Assert.Equal(1, b.Generating);

        // The next chunk is never asked for.
        world.Time.Advance(TimeSpan.FromSeconds(30));

        await FakeWorld.Eventually(() => b is { Reservations: 0, Generating: 0 });
        await Assert.ThrowsAsync<EngineException>(() => chunks.MoveNextAsync().AsTask());
    }

    [Fact]
    public async Task A_call_that_gets_no_answer_ends_after_the_call_timeout_and_is_aborted()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => Disaggregated(world, request);
        var reached = Hang("PrepRecv", a, b);

        var run = world.RunAsync();
        await reached.Task;
        world.Time.Advance(world.Fleet.Settings.CallTimeout);

        var error = await Assert.ThrowsAsync<EngineException>(() => run);
        Assert.Contains("--call-timeout", error.Message, StringComparison.Ordinal);
        await AssertNothingHeld(world, a, b);
        Assert.Contains("Abort", b.CallNames);
    }

    [Fact]
    public async Task An_engine_that_dies_fails_its_calls_as_unavailable()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request => Disaggregated(world, request);
        var reached = Hang("StartGenerate", a, b);

        var run = world.RunAsync();
        await reached.Task;
        b.Die();

        var error = await Assert.ThrowsAsync<EngineException>(() => run);
        Assert.Equal((EngineError.Unavailable, "engine-1"), (error.Error, error.EngineId));
        await AssertNothingHeld(world, a, b);
    }

    [Fact]
    public async Task A_script_that_ignores_cancellation_does_not_hold_up_the_client_and_keeps_its_pin_until_it_ends()
    {
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"));
        var stuck = new TaskCompletionSource();
        world.Router = _ => Stuck(stuck.Task);
        using var client = new CancellationTokenSource();

        var run = world.RunAsync(cancellationToken: client.Token);
        await client.CancelAsync();
        await world.EventuallyAsTimePasses(() => run.IsCompleted, TimeSpan.FromSeconds(1));

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Equal(1, world.LeasesHeld);
        stuck.SetResult();
        await FakeWorld.Eventually(() => world.LeasesHeld == 0);
    }

    [Fact]
    public async Task A_request_that_is_never_enumerated_is_unpinned_and_settled()
    {
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"));

        await using (world.Runner.Start(world.Spec()))
        {
            Assert.Equal(1, world.LeasesHeld);
        }

        Assert.Equal(0, world.LeasesHeld);
        Assert.Equal(0, world.Traffic.InFlight);
        Assert.Equal(0, world.Traces.RunningCount);
    }

    internal static async IAsyncEnumerable<Chunk> Disaggregated(FakeWorld world, Request request)
    {
        var (prefill, decode) = (world.Fleet.Scripts.Find("engine-0")!, world.Fleet.Scripts.Find("engine-1")!);
        var kv = await decode.PrepRecv(request, end: -1);
        await prefill.RemoteSend(request, kv);
        await foreach (var chunk in decode.StartGenerate(request, kv))
        {
            yield return chunk;
        }
    }

    private static async IAsyncEnumerable<Chunk> Faulty(FakeWorld world, Request request, string fault)
    {
        var (prefill, decode) = (world.Fleet.Scripts.Find("engine-0")!, world.Fleet.Scripts.Find("engine-1")!);
        var kv = await decode.PrepRecv(request, end: -1);
        switch (fault)
        {
            case "throws":
                throw new InvalidDataException("as planned");
            case "abandons":
                var stream = decode.StartGenerate(request).GetAsyncEnumerator();
                await stream.MoveNextAsync();
                yield return stream.Current;
                break;
            case "sends and throws":
                await prefill.RemoteSend(request, kv);
                throw new InvalidDataException("as planned");
            case "throws when told":
                request.Cancelled.Register(() => throw new InvalidDataException("as planned"));
                break;
            case "does not await":
                _ = decode.PrepRecv(request);
                _ = prefill.PrepRecv(request);
                break;
        }

        await foreach (var chunk in prefill.StartGenerate(request))
        {
            yield return chunk;
        }
    }

    private static async IAsyncEnumerable<Chunk> Stuck(Task task, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await task;
        yield break;
    }

    /// <summary>Makes a call hang until cancelled; completes when it hangs.</summary>
    private static TaskCompletionSource Hang(string during, params FakeEngine[] engines)
    {
        var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        foreach (var engine in engines)
        {
            if (during == "StartGenerate")
            {
                engine.BeforeToken = (i, token) =>
                {
                    if (i < 2)
                    {
                        return Task.CompletedTask;
                    }

                    reached.TrySetResult();
                    return Never(i, token);
                };
            }
            else
            {
                engine.BeforeReply = (call, token) =>
                {
                    if (call != during)
                    {
                        return Task.CompletedTask;
                    }

                    reached.TrySetResult();
                    return Never(0, token);
                };
            }
        }

        return reached;
    }

    private static async Task AssertNothingHeld(FakeWorld world, params FakeEngine[] engines)
    {
        await FakeWorld.Eventually(() => engines.All(engine => engine is { Reservations: 0, Generating: 0 }));
        Assert.Equal(0, world.LeasesHeld);
        Assert.Equal(0, world.Traffic.InFlight);
        Assert.Equal(0, world.Traces.RunningCount);
        Assert.All(world.Fleet.Members, member => Assert.Equal(0, member.Work.Calls));
        Assert.All(world.Fleet.Members, member => Assert.Equal(0, member.Work.Ahead.PrefillTokens));
        Assert.DoesNotContain(world.Traces.Recent(10).SelectMany(trace => trace.Calls), call => call.Outcome == CallOutcome.Running);
    }
}
