using System.Collections.Concurrent;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Contracts;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Tests.Engines;

/// <summary>A host's fleet and runner over fake engines, on a clock that tests move.</summary>
internal sealed class FakeWorld : IEngineConnector, IRouterCatalog, IRequestObserver, IRequestRecorder, IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, IEngineApi> engines = new();
    private readonly CancellationTokenSource stopping = new();
    private int nextRequest;
    private int leases;

    public FakeWorld(TraceSettings? traces = null, RequestSettings? requests = null)
    {
        Traces = new TraceStore(traces ?? new TraceSettings { Requests = 100 });
        Time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        Fleet = new EngineFleet(this, new FleetSettings(), Time, NullLogger<EngineFleet>.Instance);
        Fleet.Changed += change => Events.Enqueue(change);
        Traffic = new TrafficStats(Time);
        Runner = new RequestRunner(this, Fleet, Traffic, Traces, this, requests ?? new RequestSettings(), Time, stopping.Token, this);
    }

    public FakeTimeProvider Time { get; }

    public EngineFleet Fleet { get; }

    public TrafficStats Traffic { get; }

    public TraceStore Traces { get; }

    public RequestRunner Runner { get; }

    public ConcurrentQueue<FleetEvent> Events { get; } = new();

    public IRequestRecorder? Recorder { get; set; }

    /// <summary>Told of each request that ends.</summary>
    public Action<string, RequestTrace>? Ended { get; set; }

    /// <summary>Routers from scripts; null: the one below.</summary>
    public IRouterCatalog? Catalog { get; set; }

    /// <summary>What the one router does.</summary>
    public Func<Request, IAsyncEnumerable<Chunk>> Router { get; set; } = null!;

    public int LeasesHeld => Volatile.Read(ref leases);

    public static async Task<FakeWorld> WithAsync(params FakeEngine[] fakes)
    {
        var world = new FakeWorld();
        world.Router = request => world.Fleet.Scripts.LeastLoaded().StartGenerate(request);
        for (var i = 0; i < fakes.Length; i++)
        {
            await world.AttachAsync($"engine-{i}", fakes[i]);
        }

        return world;
    }

    public async Task AttachAsync(string id, IEngineApi api, params string[] labels)
    {
        engines[$"http://{id}:1"] = api;
        await Fleet.AttachAsync($"http://{id}:1", id, labels, mustAnswer: true, CancellationToken.None);
        await Eventually(() => Fleet.Find(id).State == EngineState.Serving);
    }

    /// <summary>A local engine's place takes its address from the launch.</summary>
    public void Reachable(string address, IEngineApi api) => engines[address] = api;

    public RequestSpec Spec(int promptTokens = 10, int maxTokens = 4, DateTimeOffset? deadline = null, string? router = null) => new(
        $"req-{Interlocked.Increment(ref nextRequest)}",
        Enumerable.Range(0, promptTokens).ToArray(),
        new Sampling { MaxTokens = maxTokens },
        new Dictionary<string, string>(),
        router,
        deadline);

    /// <summary>Runs a request to its end and returns its tokens.</summary>
    public async Task<List<int>> RunAsync(RequestSpec? spec = null, CancellationToken cancellationToken = default)
    {
        await using var running = Runner.Start(spec ?? Spec());
        var tokens = new List<int>();
        await foreach (var chunk in running.Chunks(cancellationToken))
        {
            tokens.AddRange(chunk.Tokens.Span);
        }

        return tokens;
    }

    /// <summary>Waits without a clock: lets what runs run, until a condition holds.</summary>
    public static async Task Eventually(Func<bool> condition)
    {
        var start = TimeProvider.System.GetTimestamp();
        while (TimeProvider.System.GetElapsedTime(start) < GivingUp)
        {
            if (condition())
            {
                return;
            }

            await Task.Yield();
        }

        Assert.Fail("It did not come to hold.");
    }

    private static readonly TimeSpan GivingUp = TimeSpan.FromSeconds(60);

    /// <summary>As <see cref="Eventually"/>, while the clock moves on.</summary>
    public async Task EventuallyAsTimePasses(Func<bool> condition, TimeSpan step)
    {
        var start = TimeProvider.System.GetTimestamp();
        for (var i = 0; TimeProvider.System.GetElapsedTime(start) < GivingUp; i++)
        {
            if (condition())
            {
                return;
            }

            if (i < 2_000)
            {
                Time.Advance(step);
            }

            for (var turn = 0; turn < 50; turn++)
            {
                await Task.Yield();
            }

            // On a busy machine the threads that are to act must first get a core.
            if (i > 100)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System);
            }
        }

        Assert.Fail("It did not come to hold.");
    }

    IEngineApi IEngineConnector.Connect(string address) =>
        engines.TryGetValue(address, out var api) ? api : throw new FormatException($"nothing at {address}");

    IRouterLease IRouterCatalog.Acquire(string? spec, string requestId, IReadOnlyDictionary<string, string>? headers)
    {
        if (Catalog is not null)
        {
            return Catalog.Acquire(spec, requestId, headers);
        }

        Interlocked.Increment(ref leases);
        return new Lease(this, Router);
    }

    IRequestRecording? IRequestRecorder.Begin((string Name, int Version) router, RequestSpec spec, HostRequest request) => Recorder?.Begin(router, spec, request);

    void IRequestObserver.CallEnded(SubCall call)
    {
    }

    void IRequestObserver.RequestEnded(string router, RequestTrace trace) => Ended?.Invoke(router, trace);

    public async ValueTask DisposeAsync()
    {
        await Fleet.DisposeAsync();
        stopping.Dispose();
    }

    private sealed class Lease(FakeWorld world, Func<Request, IAsyncEnumerable<Chunk>> router) : IRouterLease
    {
        public string Name => "test";

        public int Version => 3;

        public IAsyncEnumerable<Chunk> HandleRequest(Request request, ScriptRecord? record = null) => router(request);

        public void Dispose() => Interlocked.Decrement(ref world.leases);
    }
}
