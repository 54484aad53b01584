using System.Collections.Concurrent;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Keeps what is loaded in line with the log: applies its entries in order, loads the versions they want, swaps, retires. It is the driver
/// of <see cref="RouterLifecycle"/>.
/// </summary>
/// <remarks>
/// An entry is applied at once; the version it lets serve may have to be compiled first, and until then the one before serves on. A version
/// that does not load here is told of once, and the last good one before it serves.
/// </remarks>
internal sealed class RoutersInForce(
    IRouterStore store, VersionLoader loader, VersionRetirement retirement, ScriptCalls calls, ScriptLimits limits, IHostEvents events, ILogger log, Lock gate) : IDisposable
{
    private readonly ConcurrentDictionary<string, RouterSlot> _slots = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, bool> _behind = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _stop = new();
    private RoutingTable _table = RoutingTable.Empty;
    private Task _following = Task.CompletedTask;
    private bool _unreachable;

    /// <summary>Called under the lock after each change of what serves.</summary>
    public Action Changed_NeedsLock { get; set; } = static () => { };

    public IEnumerable<RouterSlot> Slots => _slots.Values;

    private SemaphoreSlim CommitTurn { get; } = new(1, 1);

    public RouterSlot? Find(string name) => _slots.GetValueOrDefault(name);

    public RouterSlot FindOrAdd(string name) => _slots.GetOrAdd(name, static name => new RouterSlot(name));

    /// <summary>Brings back what was in force, and follows the log from then on.</summary>
    /// <exception cref="RouterStoreException">The store cannot be read.</exception>
    public async Task Restore(CancellationToken cancellationToken)
    {
        Apply(await store.ReadLog(after: 0, cancellationToken), own: null);
        foreach (var slot in _slots.Values.OrderBy(slot => slot.Name, StringComparer.Ordinal))
        {
            await CatchUp(slot, cancellationToken);
        }

        _following = Task.Run(() => store.Follow(Grown, _stop.Token), CancellationToken.None);
    }

    /// <summary>Writes to the log and puts it in force. When this returns, it is on the disk and, if its version is loaded, serves.</summary>
    /// <param name="decide">Given what is in force at that moment, on all hosts, says what to write, or refuses.</param>
    /// <exception cref="RouterRefusedException">By <paramref name="decide"/>, or because the store cannot be written.</exception>
    public async Task Commit(Func<RoutingTable, StoreCommit> decide, CancellationToken cancellationToken)
    {
        await CommitTurn.WaitAsync(cancellationToken);
        List<RouterSlot> behind;
        try
        {
            StoreCommit? written = null;
            var entries = await store.Commit(_table.Sequence, news => written = decide(_table.Apply(news)), cancellationToken);
            behind = Apply(entries, written?.Version?.Stored);
        }
        catch (RouterStoreException e)
        {
            throw new RouterRefusedException(RouterRefusal.StoreUnavailable, e.IsOutcomeUnknown ? "store_outcome_unknown" : "store_unavailable", e.Message);
        }
        finally
        {
            CommitTurn.Release();
        }

        CatchUpInBackground(behind);
    }

    /// <summary>
    /// Makes sure that a version is loaded: what the log wants serves at once, anything else with the change that makes use of it. The caller has
    /// the name's turn.
    /// </summary>
    /// <returns>False if it does not load; <see cref="RouterSlot.Broken"/> says why.</returns>
    public async Task<bool> LoadStored(RouterSlot slot, int number, CancellationToken cancellationToken)
    {
        StoredVersion? stored;
        IReadOnlyDictionary<string, string>? options;
        lock (gate)
        {
            if (slot.Serving.Usable.ContainsKey(number) || slot.Prepared.ContainsKey(number))
            {
                return true;
            }

            stored = slot.Stored.GetValueOrDefault(number);
            options = slot.Route.Options.GetValueOrDefault(number);
        }

        if (stored is null || await store.ReadFiles(slot.Name, number, cancellationToken) is not { } files)
        {
            Break(slot, number, [new RouterDiagnostic(slot.Name + ".csx", 0, 0, ScriptDiagnosticIds.LoadFailed, DiagnosticSeverity.Error, "the store has no text of it")], null);
            return false;
        }

        var source = new ScriptSource(files, stored.Hash, []);
        var version = new RouterVersion(slot.Name, number, source, stored.Origin, stored.Time, slot.CountsOf(number));
        LoadedScript? script;
        try
        {
            script = await loader.Load(version, options, cancellationToken);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            version.Diagnostics = [new RouterDiagnostic(slot.Name + ".csx", 0, 0, ScriptDiagnosticIds.LoadFailed, DiagnosticSeverity.Error, e.Message)];
            script = null;
        }

        if (script is null)
        {
            Break(slot, number, version.Diagnostics, source);
            return false;
        }

        lock (gate)
        {
            var isWanted = slot.Missing.Contains(number);
            Loaded_NeedsLock(slot, version, script);
            if (isWanted)
            {
                Realise_NeedsLock(slot);
            }
        }

        return true;
    }

    /// <summary>Takes a loaded version in. Known to the log, it can be used from here on; else when a commit makes it known.</summary>
    public void Loaded_NeedsLock(RouterSlot slot, RouterVersion version, LoadedScript script)
    {
        version.Load(script);
        retirement.Loaded_NeedsLock(version.Context!);
        slot.Broken.Remove(version.Number);
        slot.Prepared[version.Number] = version;
    }

    /// <summary>Gives up a version that was taken in, if it did not become known.</summary>
    public void Drop_NeedsLock(RouterSlot slot, RouterVersion version)
    {
        if (slot.Prepared.Remove(version.Number))
        {
            version.Retire();
            retirement.Begin_NeedsLock(version);
        }
    }

    /// <summary>Gives up all versions of all names.</summary>
    public void RetireAll()
    {
        lock (gate)
        {
            foreach (var slot in _slots.Values)
            {
                foreach (var version in slot.Usable)
                {
                    Retire_NeedsLock(slot, version);
                }
            }
        }
    }

    public void Dispose() => _stop.Cancel();

    /// <summary>Completes when the log is no longer followed. After <see cref="Dispose"/>.</summary>
    public Task Ended() => _following.WaitAsync(CancellationToken.None);

    /// <returns>Names that still have something to load.</returns>
    private List<RouterSlot> Apply(IReadOnlyList<LoggedChange> entries, StoredVersion? own)
    {
        lock (gate)
        {
            var touched = new HashSet<RouterSlot>();
            foreach (var entry in entries)
            {
                _table = _table.Apply(entry);
                var slot = FindOrAdd(entry.Change.Router);
                Take_NeedsLock(slot, entry.Change, _table[slot.Name], own);
                touched.Add(slot);
            }

            foreach (var slot in touched)
            {
                Realise_NeedsLock(slot);
            }

            return [.. touched.Where(slot => slot.IsStale || slot.Missing.Any())];
        }
    }

    private void Take_NeedsLock(RouterSlot slot, RouterChange change, RouterRoute route, StoredVersion? own)
    {
        var isEffective = !ReferenceEquals(slot.Route, route);
        var canary = slot.Route.Canary?.Version;
        slot.Route = route;
        switch (change.Kind)
        {
            case RouterChangeKind.Added or RouterChangeKind.Rejected:
                if (own is not null && own.Router == change.Router && own.Number == change.Version)
                {
                    slot.Stored[own.Number] = own;
                }
                else
                {
                    slot.IsStale = true;
                }

                return;

            case RouterChangeKind.Deleted when isEffective && change.Version is { } number:
                slot.Stored.Remove(number);
                slot.Broken.Remove(number);
                if (slot.Serving.Usable.GetValueOrDefault(number) is { } gone)
                {
                    Retire_NeedsLock(slot, gone);
                }

                break;

            case RouterChangeKind.Deleted when isEffective:
                foreach (var version in slot.Usable)
                {
                    Retire_NeedsLock(slot, version);
                }

                break;
        }

        if (isEffective)
        {
            slot.Cause = change;
            if (change is { Version: { } changed, Options: { } options })
            {
                slot.Serving.Usable.GetValueOrDefault(changed)?.Options?.Activate(options);
            }

            if (change.Kind is not (RouterChangeKind.Activated or RouterChangeKind.RolledBack))
            {
                Tell(RouterEvents.Of(slot.Name, change));
            }
            else if (slot.Active?.Number == route.Active && canary is { } ended && route.Canary is null)
            {
                // By a rollback, or by activating the version beside it.
                Tell(RouterEvents.CanaryEnded(slot.Name, ended, change));
            }
        }
    }

    /// <summary>Publishes what the log wants and what is loaded; starts and ends planners; retires what is more than should be kept.</summary>
    private void Realise_NeedsLock(RouterSlot slot)
    {
        var serving = slot.Serving;
        foreach (var version in slot.Prepared.Values.Where(version => slot.Route.Known.Contains(version.Number)).ToList())
        {
            slot.Prepared.Remove(version.Number);
            serving = serving with { Usable = serving.Usable.SetItem(version.Number, version) };
        }

        var before = serving.Active;
        if (slot.ShouldServe is { } number && number != before?.Number && serving.Usable.GetValueOrDefault(number) is { } next)
        {
            next.Step(RouterStep.Activate);
            before?.Step(RouterStep.Supersede);
            serving = serving with { Active = next };
        }

        slot.Serving = serving with
        {
            Canary = slot.Route.Canary is { } rule && serving.Usable.GetValueOrDefault(rule.Version) is { } canary && canary != serving.Active ? (canary, rule) : null,
            Labels = slot.Route.Labels,
        };
        if (slot.Active is { } active && active != before)
        {
            Tell(RouterEvents.Serves(slot, active, before));
        }

        foreach (var surplus in slot.Surplus(limits.VersionsKept))
        {
            Retire_NeedsLock(slot, surplus);
        }

        Plan_NeedsLock(slot);
        Changed_NeedsLock();
    }

    private void Plan_NeedsLock(RouterSlot slot)
    {
        var serving = new[] { slot.Serving.Active, slot.Serving.Canary?.Version }.OfType<RouterVersion>().Where(version => version.HasPlan).ToList();
        foreach (var (version, plan) in slot.Plans.Where(plan => !serving.Contains(plan.Key)).ToList())
        {
            plan.Dispose();
            slot.Plans.Remove(version);
        }

        foreach (var version in serving.Where(version => !slot.Plans.ContainsKey(version)))
        {
            slot.Plans[version] = new PlanDriver(version, calls, TimeSpan.FromMilliseconds(limits.PlanIntervalMs), TimeSpan.FromMilliseconds(limits.PlanLimitMs), log);
            slot.Plans[version].Start();
        }
    }

    private void Retire_NeedsLock(RouterSlot slot, RouterVersion version)
    {
        if (slot.Plans.Remove(version, out var plan))
        {
            plan.Dispose();
        }

        var serving = slot.Serving;
        slot.Serving = serving with
        {
            Active = serving.Active == version ? null : serving.Active,
            Canary = serving.Canary?.Version == version ? null : serving.Canary,
            Usable = serving.Usable.Remove(version.Number),
        };
        version.Retire();
        retirement.Begin_NeedsLock(version);
    }

    private void Break(RouterSlot slot, int number, IReadOnlyList<RouterDiagnostic> diagnostics, ScriptSource? source)
    {
        lock (gate)
        {
            slot.Broken[number] = diagnostics;
            var instead = slot.ShouldServe is { } good ? $"{slot.Name}@{good} serves" : slot.Active is { } active ? $"{active.Label} goes on serving" : $"no version of {slot.Name} can serve";
            foreach (var diagnostic in diagnostics.Where(diagnostic => diagnostic.IsError))
            {
                log.LogError("{Diagnostic}", diagnostic.Quoting(path => source?.TextOf(path)).Render());
            }

            Tell(new RouterEvent("router.unusable", $"{slot.Name}@{number}", $"{slot.Name}@{number} does not load any more: {diagnostics.FirstOrDefault(diagnostic => diagnostic.IsError)}; {instead}", IsWarning: true));
            Realise_NeedsLock(slot);
        }
    }

    private void CatchUpInBackground(List<RouterSlot> behind)
    {
        foreach (var slot in behind)
        {
            _ = Task.Run(() => CatchUp(slot, _stop.Token), CancellationToken.None);
        }
    }

    /// <summary>Loads what a name lacks. Never throws but for cancellation by the caller; what the store cannot give now is asked for again when it is back.</summary>
    private async Task CatchUp(RouterSlot slot, CancellationToken cancellationToken)
    {
        try
        {
            await slot.Turn.WaitAsync(cancellationToken);
            try
            {
                _behind[slot.Name] = true;
                if (slot.IsStale)
                {
                    var stored = await store.ReadVersions(slot.Name, cancellationToken);
                    lock (gate)
                    {
                        slot.Take(stored);
                    }
                }

                while (NextMissing(slot) is { } number)
                {
                    await LoadStored(slot, number, cancellationToken);
                }

                _behind.TryRemove(slot.Name, out _);
            }
            finally
            {
                slot.Turn.Release();
            }
        }
        catch (RouterStoreException e)
        {
            log.LogWarning("{Router} cannot be brought up to date yet: {Error}", slot.Name, e.Message);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
        }
    }

    private int? NextMissing(RouterSlot slot)
    {
        lock (gate)
        {
            return slot.Missing.Select(number => (int?)number).FirstOrDefault();
        }
    }

    /// <summary>Another host has written, or the store is back.</summary>
    private async Task Grown()
    {
        await CommitTurn.WaitAsync(_stop.Token);
        List<RouterSlot> behind;
        try
        {
            behind = Apply(await store.ReadLog(_table.Sequence, _stop.Token), own: null);
            if (_unreachable)
            {
                _unreachable = false;
                log.LogInformation("The router store {Store} is back", store.Description);
            }
        }
        catch (RouterStoreException e)
        {
            if (!_unreachable)
            {
                _unreachable = true;
                log.LogWarning("{Error} Routers go on as they are", e.Message);
            }

            throw;
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            log.LogError(e, "The log of routers could not be applied; trying again when it grows");
            return;
        }
        finally
        {
            CommitTurn.Release();
        }

        CatchUpInBackground([.. behind.Concat(_behind.Keys.Select(name => _slots[name])).Distinct()]);
    }

    private void Tell(RouterEvent happened)
    {
        events.Publish(happened.Kind, happened.Subject, happened.Text);
        log.Log(happened.IsWarning ? LogLevel.Warning : LogLevel.Information, "{Event}", happened.Text);
    }
}
