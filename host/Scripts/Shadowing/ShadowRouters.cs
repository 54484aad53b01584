using System.Collections.Immutable;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>
/// The shadows of all routers, at most one a name. A shadow has its own instance of the script, its own State, and a fleet without engines:
/// nothing it does reaches a live request, an engine, the statistics or the error counts.
/// </summary>
internal sealed class ShadowRouters(
    RouterCatalog catalog, ScriptLimits limits, RouterFleet fleet, RouterTraffic traffic, TimeProvider time, TimeProvider machineTime, IHostEvents events) : IRequestRecorder, IAsyncDisposable
{
    private readonly SemaphoreSlim turn = new(1, 1);
    private readonly ScriptCalls calls = new(time, limits.Budget(machineTime));
    private volatile ImmutableDictionary<string, Shadow> shadows = ImmutableDictionary<string, Shadow>.Empty;

    /// <summary>Of a request that this very version serves there is nothing to compare.</summary>
    public IRequestRecording? Begin((string Name, int Version) router, RequestSpec spec, HostRequest request) =>
        shadows.TryGetValue(router.Name, out var shadow) && shadow.Version != router.Version && shadow.Takes(spec.Id)
            ? shadow.Begin(spec, SeenEngine.All(fleet, request))
            : null;

    public ShadowView? View(string router) => shadows.GetValueOrDefault(router)?.View();

    /// <summary>Lets a version shadow its name, in place of any other that does.</summary>
    /// <param name="samplePercent">Of the requests of the name; above 0, at most 100.</param>
    /// <exception cref="RouterRefusedException">No such version, or it does not load.</exception>
    public async Task<ShadowView> StartAsync(string router, int version, double samplePercent, CancellationToken cancellationToken)
    {
        await turn.WaitAsync(cancellationToken);
        try
        {
            var shadow = await LoadAsync(router, version, samplePercent, cancellationToken);
            await RemoveAsync(router);
            shadow.Start();
            shadows = shadows.SetItem(router, shadow);
            events.Publish("router.shadow", $"{router}@{version}", string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{router}@{version} shadows {samplePercent:0.##}% of the requests of {router}"));
            return shadow.View();
        }
        finally
        {
            turn.Release();
        }
    }

    /// <returns>What came of it; null if there was none.</returns>
    public async Task<ShadowView?> StopAsync(string router, CancellationToken cancellationToken)
    {
        await turn.WaitAsync(cancellationToken);
        try
        {
            var last = View(router);
            if (await RemoveAsync(router))
            {
                events.Publish("router.shadow_ended", $"{router}@{last!.Version}", $"{router}@{last.Version} shadows {router} no more");
            }

            return last;
        }
        finally
        {
            turn.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var router in shadows.Keys)
        {
            await StopAsync(router, CancellationToken.None);
        }
    }

    private async Task<bool> RemoveAsync(string router)
    {
        if (!shadows.TryGetValue(router, out var old))
        {
            return false;
        }

        shadows = shadows.Remove(router);
        await old.DisposeAsync();
        return true;
    }

    private async Task<Shadow> LoadAsync(string router, int version, double samplePercent, CancellationToken cancellationToken)
    {
        var found = await catalog.Get(router, VersionSelector.Of(version), cancellationToken);
        var label = $"{router}@{version} (shadow)";
        using var place = catalog.Queue.Enter();
        var compiled = await catalog.Queue.Compile(new ScriptSource(found.Files, found.Version.ContentHash, []), label, cancellationToken);
        if (compiled.Assembly is null)
        {
            throw Refused(router, version, compiled.Diagnostics.First(diagnostic => diagnostic.IsError).ToString());
        }

        var clock = new ScriptClock(time);
        try
        {
            var globals = new RouterGlobals(new ShadowFleet(fleet), traffic, new RouterStates().For(router), new ShadowLog(), clock, new RouterOptionValues(found.Version.Options));
            var script = await LoadedScript.Load(compiled, globals, label, calls, TimeSpan.FromMilliseconds(limits.LoadMs), cancellationToken);
            return new Shadow(router, version, samplePercent, script, clock, calls, limits, time);
        }
        catch (RouterLoadException e)
        {
            clock.Dispose();
            throw Refused(router, version, e.Diagnostic.ToString());
        }
        catch
        {
            clock.Dispose();
            throw;
        }
    }

    private static RouterRefusedException Refused(string router, int version, string why) =>
        new(RouterRefusal.Conflict, "version_not_loaded", $"{router}@{version} does not load: {why}");

    /// <summary>Lines of a shadow are no news for the operator; those of a run are kept with its differences.</summary>
    private sealed class ShadowLog : RouterLog
    {
        public override void Info(string message) => Scripting.Runtime.ScriptScope.Current?.Record?.Wrote(isWarning: false, message ?? "");

        public override void Warn(string message) => Scripting.Runtime.ScriptScope.Current?.Record?.Wrote(isWarning: true, message ?? "");
    }
}
