using Microsoft.Extensions.Logging;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Store;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Host.Tests.Scripts;
using FakeEngine = ScriptedServe.Host.Tests.Engines.FakeEngine;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>Requests through compiled scripts to fake engines: everything of the host between the API and the wire.</summary>
internal sealed class ScriptedWorld : IAsyncDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("scriptedserve-").FullName;

    private ScriptedWorld(FakeWorld world, ScriptLimits limits)
    {
        World = world;
        Limits = limits;
        Events = new HostEvents(world.Time, capacity: 4096);
        Compiler = new ScriptCompiler(new ScriptFolder(root), limits, ScriptApiRules.Default);
        var globals = new RouterGlobalsSource(world.Fleet.Scripts, world.Traffic, world.Time, Log, _ => new Dictionary<string, string>());
        Routers = new RouterCatalog(Compiler, limits, globals.For, "main", world.Time, TimeProvider.System, Events, Log.CreateLogger<RouterCatalog>(), new MemoryRouterStore(world.Time));
        world.Catalog = Routers;
    }

    public FakeWorld World { get; }

    public ScriptLimits Limits { get; }

    public HostEvents Events { get; }

    public LogLines Log { get; } = new();

    public ScriptCompiler Compiler { get; }

    public RouterCatalog Routers { get; }

    /// <param name="script">Becomes the active version of the default router, <c>main</c>.</param>
    public static async Task<ScriptedWorld> WithAsync(
        string script, FakeEngine[]? engines = null, ScriptLimits? limits = null, TraceSettings? traces = null, string[]? labels = null)
    {
        limits ??= new ScriptLimits();
        var world = new FakeWorld(traces, new RequestSettings { SubCalls = limits.SubCalls });
        var scripted = new ScriptedWorld(world, limits);
        engines ??= [new FakeEngine("a"), new FakeEngine("b")];
        for (var i = 0; i < engines.Length; i++)
        {
            await world.AttachAsync($"engine-{i}", engines[i], labels is null ? [] : [labels[i]]);
        }

        await scripted.PutAsync(script);
        return scripted;
    }

    public async Task<RouterVersionInfo> PutAsync(string script, string name = "main", bool activate = true)
    {
        var put = await Routers.Put(new RouterSubmission(name, script, new RouterOrigin("ann", "why"), activate), CancellationToken.None);
        Assert.True(put.Accepted, string.Join('\n', put.Diagnostics));
        return put.Version;
    }

    /// <summary>Runs a request to its end, however it ends.</summary>
    public async Task<RequestTrace> TraceAsync(RequestSpec? spec = null)
    {
        spec ??= World.Spec();
        await Record.ExceptionAsync(() => World.RunAsync(spec));
        return Assert.Single(World.Traces.Find(spec.Id));
    }

    public async ValueTask DisposeAsync()
    {
        await Routers.DisposeAsync();
        await World.DisposeAsync();
        Directory.Delete(root, recursive: true);
    }
}
