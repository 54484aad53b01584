using System.Collections.Concurrent;
using ScriptedServe.Host.Admin;

namespace ScriptedServe.Host.Scripts;

/// <summary>Lets retired versions drain, runs their OnUnload and gives up their load contexts; knows which contexts are still in memory.</summary>
/// <param name="gate">The catalog's lock, under which phases change.</param>
internal sealed class VersionRetirement(Lock gate, ScriptCalls calls, ScriptLimits limits, IHostEvents events, ILogger log)
{
    private readonly ConcurrentDictionary<RouterVersion, Task> _unloading = new();
    private static readonly TimeSpan CollectAfter = TimeSpan.FromSeconds(1);
    private const int CollectRounds = 3;
    private readonly List<WeakReference> _contexts = [];
    private int _collecting;

    /// <summary>Versions that take no new requests and are not unloaded yet.</summary>
    public IEnumerable<RouterVersion> Draining => _unloading.Keys;

    /// <summary>Script load contexts in memory, those unloaded and not yet collected included.</summary>
    public int LoadContexts_NeedsLock
    {
        get
        {
            _contexts.RemoveAll(context => !context.IsAlive);
            return _contexts.Count;
        }
    }

    public void Loaded_NeedsLock(WeakReference context)
    {
        _contexts.RemoveAll(old => !old.IsAlive);
        _contexts.Add(context);
    }

    /// <summary>Takes over a version that has just been retired.</summary>
    public void Begin_NeedsLock(RouterVersion version) => _unloading[version] = Task.Run(() => Unload(version));

    /// <summary>Waits until all are unloaded; those whose requests do not end are left after a while.</summary>
    public async Task End(TimeProvider time)
    {
        try
        {
            await Task.WhenAll(_unloading.Values).WaitAsync(TimeSpan.FromMilliseconds(limits.LoadMs), time);
        }
        catch (TimeoutException)
        {
            log.LogWarning("Router versions still in use at the end: {Routers}", string.Join(", ", Draining.Select(version => $"{version.Label} ({version.Leases} requests)")));
        }
    }

    // Cannot fail: whatever the script does, the version ends up unloaded.
    private async Task Unload(RouterVersion version)
    {
        await version.Drained;
        if (version.Script.OnUnload is { } onUnload)
        {
            try
            {
                await RunOnUnload(onUnload, version.Label);
            }
            catch (Exception e)
            {
                log.LogWarning("{Router}: OnUnload failed: {Error}", version.Label, ScriptErrors.Describe(e));
            }
        }

        lock (gate)
        {
            version.Unload();
            version.Step(RouterStep.Unload);
            events.Publish("router.unloaded", version.Label, $"{version.Label} is unloaded");
        }

        _unloading.TryRemove(version, out _);
        if (Interlocked.Exchange(ref _collecting, 1) == 0)
        {
            _ = CollectContexts();
        }
    }

    // A host that serves allocates so little that a full collection may not come for hours, and only that frees a load context. In the background,
    // and at most once a second however often versions change; a second round takes what finalizers of the first let go.
    private async Task CollectContexts()
    {
        for (var round = 0; round < CollectRounds; round++)
        {
            await Task.Delay(CollectAfter, calls.Clock);
            Volatile.Write(ref _collecting, round == CollectRounds - 1 ? 0 : 1);
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: false);
        }

        FreedMemory.GiveBack();
    }

    private Task<bool> RunOnUnload(Func<CancellationToken, Task> onUnload, string label) => LoadedScript.Run(
        async stop =>
        {
            await onUnload(stop);
            return true;
        },
        label, calls, TimeSpan.FromMilliseconds(limits.LoadMs), CancellationToken.None);
}
