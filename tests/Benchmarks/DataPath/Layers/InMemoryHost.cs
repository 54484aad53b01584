using Microsoft.Extensions.Logging.Abstractions;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.DataPathBenchmarks.Stub;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Store;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.DataPathBenchmarks.Layers;

/// <summary>The host between the HTTP API and the wire: runner, routers and fleet, over engines in this process that answer at once.</summary>
internal sealed class InMemoryHost : IEngineConnector, IRequestObserver, IAsyncDisposable
{
    private readonly Dictionary<string, IEngineApi> _engines;
    private readonly EngineFleet _fleet;
    private readonly TrafficStats _traffic;

    private InMemoryHost(string scripts, TimeProvider time)
    {
        var ticks = new TickSource(time);
        _engines = new()
        {
            ["http://stub-0:1"] = new InstantEngine(new StubEngine("stub-0", "prefill", ticks)),
            ["http://stub-1:1"] = new InstantEngine(new StubEngine("stub-1", "decode", ticks)),
        };
        _fleet = new EngineFleet(this, new FleetSettings(), time, NullLogger<EngineFleet>.Instance);
        _traffic = new TrafficStats(time);
        var limits = new ScriptLimits();
        var compiler = new ScriptCompiler(new ScriptFolder(scripts), limits, ScriptApiRules.Default);
        var globals = new RouterGlobalsSource(_fleet.Scripts, _traffic, time, NullLoggerFactory.Instance, _ => new Dictionary<string, string>());
        Routers = new RouterCatalog(compiler, limits, globals.For, "data_parallel", time, time, new HostEvents(time), NullLogger<RouterCatalog>.Instance, new MemoryRouterStore(time));
        Scripted = NewRunner(Routers, time);
        Compiled = new CompiledRouters(_fleet.Scripts);
        Unscripted = NewRunner(Compiled, time);
    }

    public RouterCatalog Routers { get; }

    /// <summary>The same routers as part of this program.</summary>
    public CompiledRouters Compiled { get; }

    /// <summary>Through scripts.</summary>
    public RequestRunner Scripted { get; }

    /// <summary>Through the same code as part of this program.</summary>
    public RequestRunner Unscripted { get; }

    public static async Task<InMemoryHost> StartAsync(string scripts, TimeProvider time)
    {
        var host = new InMemoryHost(scripts, time);
        foreach (var url in host._engines.Keys)
        {
            await host._fleet.AttachAsync(url, id: null, labels: [], mustAnswer: true, CancellationToken.None);
        }

        while (host._fleet.ServingCount < host._engines.Count)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10), time);
        }

        foreach (var name in CompiledRouters.Names)
        {
            var text = await File.ReadAllTextAsync(Path.Combine(scripts, name + ".csx"));
            var put = await host.Routers.Put(new RouterSubmission(name, text, new RouterOrigin("", ""), Activate: true), CancellationToken.None);
            if (!put.Accepted)
            {
                throw new InvalidOperationException(string.Join('\n', put.Diagnostics));
            }
        }

        return host;
    }

    public async ValueTask DisposeAsync()
    {
        await Routers.DisposeAsync();
        await _fleet.DisposeAsync();
    }

    IEngineApi IEngineConnector.Connect(string address) => _engines[address];

    void IRequestObserver.CallEnded(SubCall call)
    {
    }

    void IRequestObserver.RequestEnded(string router, RequestTrace trace)
    {
    }

    private RequestRunner NewRunner(IRouterCatalog routers, TimeProvider time) =>
        new(routers, _fleet, _traffic, new TraceStore(new TraceSettings()), this, new RequestSettings(), time, CancellationToken.None);
}

/// <summary>What the scripts of the same names do, compiled into this program: the difference is what scripting costs.</summary>
internal sealed class CompiledRouters(RouterFleet fleet) : IRouterCatalog
{
    public static readonly string[] Names = ["data_parallel", "pd_disagg"];

    public IRouterLease Acquire(string? spec, string requestId, IReadOnlyDictionary<string, string>? headers) => spec == "pd_disagg" ? new Lease(spec, Disaggregated) : new Lease("data_parallel", request => fleet.LeastLoaded().StartGenerate(request));

    private async IAsyncEnumerable<Chunk> Disaggregated(Request request)
    {
        var prefill = fleet.Role("prefill").LeastLoaded();
        var decode = fleet.Role("decode").LeastLoaded();
        var kv = await decode.PrepRecv(request, request.Length - 1);
        await prefill.RemoteSend(request, kv);
        await foreach (var chunk in decode.StartGenerate(request, kv))
        {
            yield return chunk;
        }
    }

    private sealed class Lease(string name, Func<Request, IAsyncEnumerable<Chunk>> handle) : IRouterLease
    {
        public string Name => name;

        public int Version => 1;

        public IAsyncEnumerable<Chunk> HandleRequest(Request request, ScriptRecord? record = null) => handle(request);

        public void Dispose()
        {
        }
    }
}

/// <summary>A stub whose tokens are there already.</summary>
internal sealed class InstantEngine(StubEngine stub) : IEngineApi
{
    private static readonly GenerateItem[] s_items = [.. Enumerable.Range(0, Workload.Chunks).Select(Item)];

    public Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken) => stub.PrepRecvAsync(request, cancellationToken);

    public Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken) => stub.RemoteSendAsync(request, cancellationToken);

    public IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) => stub.StartGenerateAsync(request, cancellationToken);

    public IAsyncEnumerable<GenerateItem> StreamGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) => new Items();

    public Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken) => stub.ReleaseAsync(request, cancellationToken);

    public Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken) => stub.AbortAsync(request, cancellationToken);

    public Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken) => stub.GetStatusAsync(request, cancellationToken);

    public IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, CancellationToken cancellationToken) => stub.WatchStatusAsync(request, cancellationToken);

    public Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken) => stub.DrainAsync(request, cancellationToken);

    private static GenerateItem Item(int index) =>
        StubEngine.Chunks[index] is { FinishReason: Contracts.V1.FinishReason.Unspecified } chunk ? new GenerateItem(chunk.TokenIds[0], null) : new GenerateItem(0, StubEngine.Chunks[index]);

    private sealed class Items : IAsyncEnumerable<GenerateItem>, IAsyncEnumerator<GenerateItem>
    {
        private int _next;

        public GenerateItem Current => s_items[_next - 1];

        public IAsyncEnumerator<GenerateItem> GetAsyncEnumerator(CancellationToken cancellationToken = default) => this;

        public ValueTask<bool> MoveNextAsync() => ValueTask.FromResult(_next++ < s_items.Length);

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
