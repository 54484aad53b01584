using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Requests;
using EngineState = ScriptedServe.Host.Engines.EngineState;

namespace ScriptedServe.Host.Tests.Engines;

public sealed class FleetTests
{
    [Fact]
    public async Task A_burst_between_two_reports_spreads_over_idle_engines()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        var go = new TaskCompletionSource();
        a.BeforeToken = b.BeforeToken = (_, _) => go.Task;

        var burst = Enumerable.Range(0, 20).Select(_ => world.RunAsync()).ToList();
        await FakeWorld.Eventually(() => a.Generating + b.Generating == 20);

        Assert.Equal((10, 10), (a.Generating, b.Generating));
        go.SetResult();
        await Task.WhenAll(burst);
        Assert.All(world.Fleet.Members, member => Assert.Equal(0, member.Work.Calls));
    }

    [Fact]
    public async Task A_waiting_reservation_counts_as_load()
    {
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"), new FakeEngine("b"));
        var (request, scope) = Request(world);
        using var ends = scope;

        var first = world.Fleet.Scripts.LeastLoaded();
        var kv = await first.PrepRecv(request);

        Assert.Equal(1, first.Load.InFlight);
        Assert.NotSame(first, world.Fleet.Scripts.LeastLoaded());
        Assert.NotSame(first, world.Fleet.Scripts.LeastLoaded());
        await kv.Release();
        Assert.Equal(0, first.Load.InFlight);
    }

    [Fact]
    public async Task Round_robin_takes_turns_in_each_set_of_its_own()
    {
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"), new FakeEngine("b"));
        await world.AttachAsync("engine-2", new FakeEngine("c"), "decode");
        var fleet = world.Fleet.Scripts;

        Assert.Equal(["engine-0", "engine-1", "engine-2", "engine-0"], Enumerable.Range(0, 4).Select(_ => fleet.RoundRobin().Id));
        Assert.Equal(["engine-2", "engine-2"], Enumerable.Range(0, 2).Select(_ => fleet.Role("decode").RoundRobin().Id));
        Assert.Equal(["engine-0", "engine-1"], Enumerable.Range(0, 2).Select(_ => fleet.Where(engine => engine.Labels.Count == 0).RoundRobin().Id));
        Assert.Equal("engine-1", fleet.RoundRobin().Id);
    }

    [Fact]
    public async Task Cached_prefixes_follow_what_the_engine_tells()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        var (request, scope) = Request(world, promptTokens: 10);
        using var ends = scope;
        var hashes = request.PrefixHashes(4).ToArray();
        var engine = world.Fleet.Scripts.Find("engine-1")!;

        await Tell(new CacheEvent { Stored = { hashes } }, cached: 8);
        Assert.Same(engine, world.Fleet.Scripts.LongestPrefix(request));

        await Tell(new CacheEvent { Removed = { hashes[1] } }, cached: 4);
        await Tell(new CacheEvent { Stored = { hashes[1] }, Removed = { hashes[0] } }, cached: 0);
        await Tell(new CacheEvent { Cleared = true, Stored = { hashes[0] } }, cached: 4);

        b.Die();
        await FakeWorld.Eventually(() => world.Fleet.Find("engine-1").State == EngineState.Lost);
        Assert.Equal(0, engine.CachedTokens(request));

        async Task Tell(CacheEvent change, int cached)
        {
            b.Report(status => status.CacheEvents.Add(change));
            await FakeWorld.Eventually(() => engine.CachedTokens(request) == cached);
        }
    }

    [Fact]
    public async Task A_lost_engine_leaves_the_snapshot_and_comes_back_when_it_answers()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);

        b.Die();
        await FakeWorld.Eventually(() => world.Fleet.ServingCount == 1);
        Assert.Equal([100, 101, 102, 103], await world.RunAsync());
        Assert.Contains("the connection broke", world.Fleet.Find("engine-1").Reason, StringComparison.Ordinal);

        b.Revive();
        await world.EventuallyAsTimePasses(() => world.Fleet.ServingCount == 2, TimeSpan.FromMilliseconds(100));
    }

    [Fact]
    public async Task A_silent_engine_is_asked_and_counts_as_lost_if_it_does_not_answer()
    {
        var mute = new MuteEngine();
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"));
        await world.AttachAsync("engine-1", mute);

        mute.Silent = true;
        await world.EventuallyAsTimePasses(() => world.Fleet.Find("engine-1").State == EngineState.Lost, TimeSpan.FromSeconds(1));

        Assert.Contains("no answer to GetStatus", world.Fleet.Find("engine-1").Reason, StringComparison.Ordinal);
        Assert.Equal(EngineState.Serving, world.Fleet.Find("engine-0").State);
    }

    [Fact]
    public async Task Engines_come_and_go_while_requests_run_and_every_request_ends_well()
    {
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"));
        world.Router = request => world.Fleet.Scripts.Find("engine-0")!.StartGenerate(request);
        var coming = Enumerable.Range(1, 50).Select(async i =>
        {
            await world.AttachAsync($"engine-{i}", new FakeEngine($"{i}"), "decode");
            await world.Fleet.DetachAsync($"engine-{i}");
        });

        var requests = Enumerable.Range(0, 200).Select(async _ =>
        {
            var seen = world.Fleet.Scripts.Select(engine => engine.Id).ToList();
            Assert.Contains("engine-0", seen);
            Assert.Equal([100, 101, 102, 103], await world.RunAsync());
        });
        await Task.WhenAll(coming.Concat(requests));

        Assert.Equal(["engine-0"], world.Fleet.Members.Select(member => member.Id));
    }

    [Fact]
    public async Task An_engine_with_another_model_is_refused_with_both_named()
    {
        await using var world = await FakeWorld.WithAsync(new FakeEngine("a"));
        var other = new FakeEngine("b");
        other.Status.Model.Id = "large";
        other.Status.Model.VocabSize = 2000;

        var error = await Assert.ThrowsAsync<FleetException>(() => world.AttachAsync("engine-1", other));

        Assert.Equal(FleetProblem.Mismatch, error.Problem);
        Assert.Contains("'large' (vocabulary 2000)", error.Message, StringComparison.Ordinal);
        Assert.Contains("'tiny' (vocabulary 1000)", error.Message, StringComparison.Ordinal);
        Assert.Single(world.Fleet.Members);
    }

    [Fact]
    public async Task A_drained_engine_gets_no_calls_and_does_not_serve_again_until_it_is_restarted()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);

        world.Fleet.Drain("engine-0");
        Assert.Equal(["engine-1"], world.Fleet.Scripts.Select(engine => engine.Id));
        a.Report(status => status.State = Contracts.V1.EngineState.Serving);
        await FakeWorld.Eventually(() => a.CallNames.Contains("Drain"));
        Assert.Equal(EngineState.Draining, world.Fleet.Find("engine-0").State);

        a.Status.Epoch = 2;
        a.Report(_ => { });
        await FakeWorld.Eventually(() => world.Fleet.Find("engine-0").State == EngineState.Serving);
    }

    [Fact]
    public async Task Without_engines_the_error_says_why_each_does_not_serve()
    {
        var only = new FakeEngine("a");
        await using var world = await FakeWorld.WithAsync(only);
        only.Die();
        await FakeWorld.Eventually(() => world.Fleet.ServingCount == 0);

        var error = await Assert.ThrowsAsync<Scripting.EngineException>(() => world.RunAsync());

        Assert.Equal("No engine to call: no engine serves: engine-0 is lost (the connection broke).", error.Message);
    }

    [Theory]
    [InlineData(EngineState.Starting, EngineEvent.ReportedServing, EngineState.Serving)]
    [InlineData(EngineState.Starting, EngineEvent.ConnectionLost, EngineState.Starting)]
    [InlineData(EngineState.Starting, EngineEvent.ProcessExited, EngineState.Lost)]
    [InlineData(EngineState.Serving, EngineEvent.ConnectionLost, EngineState.Lost)]
    [InlineData(EngineState.Serving, EngineEvent.DrainRequested, EngineState.Draining)]
    [InlineData(EngineState.Draining, EngineEvent.ReportedServing, EngineState.Draining)]
    [InlineData(EngineState.Draining, EngineEvent.ProcessExited, EngineState.Lost)]
    [InlineData(EngineState.Draining, EngineEvent.Launched, EngineState.Starting)]
    [InlineData(EngineState.Lost, EngineEvent.ReportedServing, EngineState.Serving)]
    [InlineData(EngineState.Lost, EngineEvent.GaveUp, EngineState.Failed)]
    [InlineData(EngineState.Failed, EngineEvent.ReportedServing, EngineState.Failed)]
    [InlineData(EngineState.Failed, EngineEvent.Launched, EngineState.Starting)]
    [InlineData(EngineState.Stopped, EngineEvent.Launched, EngineState.Stopped)]
    public void The_state_machine_is_as_written(EngineState from, EngineEvent happened, EngineState to) =>
        Assert.Equal(to, EngineLifecycle.Next(from, happened));

    private static (HostRequest Request, RequestScope Scope) Request(FakeWorld world, int promptTokens = 10)
    {
        var spec = world.Spec(promptTokens);
        var scope = new RequestScope(world.Time, TimeSpan.FromSeconds(1));
        return (new HostRequest(spec, default, new RequestTrace(spec.Id, "test@3", promptTokens, world.Time), scope), scope);
    }

    /// <summary>Answers until it is silent; then nothing comes back, and nothing breaks either.</summary>
    private sealed class MuteEngine : IEngineApi
    {
        private readonly FakeEngine inner = new("mute");

        public bool Silent { get; set; }

        public async Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken)
        {
            if (Silent)
            {
                await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken);
            }

            return await inner.GetStatusAsync(request, cancellationToken);
        }

        public IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, CancellationToken cancellationToken) => inner.WatchStatusAsync(request, cancellationToken);

        public Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken) => inner.PrepRecvAsync(request, cancellationToken);

        public Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken) => inner.RemoteSendAsync(request, cancellationToken);

        public IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) => inner.StartGenerateAsync(request, cancellationToken);

        public Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken) => inner.ReleaseAsync(request, cancellationToken);

        public Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken) => inner.AbortAsync(request, cancellationToken);

        public Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken) => inner.DrainAsync(request, cancellationToken);
    }
}
