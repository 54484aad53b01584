using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Scripts.Store;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// All routers of the host: pins one for each request, takes new versions, and writes each change of what serves to the log before it is in force.
/// </summary>
public sealed class RouterCatalog : IRouterCatalog, IAsyncDisposable
{
    private readonly IScriptCompiler _compiler;
    private readonly IRouterStore _store;
    private readonly string _defaultRouter;
    private readonly TimeProvider _time;
    private readonly ScriptCalls _calls;
    private readonly CompileQueue _queue;
    private readonly VersionIntake _intake;
    private readonly VersionRetirement _retirement;
    private readonly RoutersInForce _routers;
    private readonly RouterView _view;
    private readonly EmergencyRouter _emergency;
    private readonly Lock _lock = new();
    private bool _mayTakeOver;

    /// <param name="globals">Makes the globals of a version from its name and number.</param>
    /// <param name="defaultRouter">Serves requests that name none.</param>
    /// <param name="time">Of limits on waiting and PlanStrategy's interval. Thread time is measured on <paramref name="machineTime"/>.</param>
    /// <param name="store">Not disposed by the catalog.</param>
    public RouterCatalog(
        IScriptCompiler compiler, ScriptLimits limits, Func<string, int, RouterGlobals> globals, string defaultRouter,
        TimeProvider time, TimeProvider machineTime, IHostEvents events, ILogger<RouterCatalog> log, IRouterStore store)
    {
        RouterNames.Check(defaultRouter);
        _compiler = compiler;
        _store = store;
        _defaultRouter = defaultRouter;
        _time = time;
        _calls = new ScriptCalls(time, limits.Budget(machineTime));
        _queue = new CompileQueue(compiler, limits);
        var loader = new VersionLoader(_queue, globals, _calls, limits);
        _retirement = new VersionRetirement(_lock, _calls, limits, events, log);
        _routers = new RoutersInForce(store, loader, _retirement, _calls, limits, events, log, _lock) { Changed_NeedsLock = CheckEmergency_NeedsLock };
        _view = new RouterView(_routers, _retirement, defaultRouter);
        _intake = new VersionIntake(compiler, limits, store, _queue, loader, _routers, _view, time, events, _lock);
        _emergency = new EmergencyRouter(() => globals(EmergencyRouter.Name, 0).Fleet, events, log);
    }

    public string DefaultRouter => _defaultRouter;

    /// <summary>Where versions are kept, without secrets.</summary>
    public string StoreDescription => _store.Description;

    /// <summary>What an operator should know although requests are served; empty if all is well.</summary>
    public IReadOnlyList<string> Warnings
    {
        get
        {
            lock (_lock)
            {
                return [.. _view.Warnings_NeedsLock().Concat(_emergency.Why is { } why ? [$"The built-in emergency router serves: {why}"] : [])];
            }
        }
    }

    /// <summary>All that is compiled on this host goes through it.</summary>
    internal CompileQueue Queue => _queue;

    /// <summary>Script load contexts in memory, those unloaded and not yet collected included.</summary>
    public int LoadContexts
    {
        get
        {
            lock (_lock)
            {
                return _retirement.LoadContexts_NeedsLock;
            }
        }
    }

    public IRouterLease Acquire(string? spec, string requestId = "", IReadOnlyDictionary<string, string>? headers = null)
    {
        if (!RouterNames.TryParse(spec ?? _defaultRouter, out var name, out var wanted))
        {
            if (spec is EmergencyRouter.Spec && _emergency.Why is not null)
            {
                return _emergency.Pin();
            }

            throw new RouterNotFoundException($"\"{spec}\" names no router: use a name, name@version or name@label");
        }

        var slot = _routers.Find(name);

        // A version that was retired between the read and the pin is no longer the one that the next read gives.
        while (slot?.Serving.Choose(name, wanted, requestId, headers) is { } version)
        {
            if (version.TryPin())
            {
                return new RouterLease(version, _calls.Budget);
            }
        }

        return spec is null && _emergency.Why is not null
            ? _emergency.Pin()
            : throw RouterRefusals.NotServing(name, wanted, slot, isDefault: spec is null, _routers.Slots.Where(other => other.Active is not null).Select(other => other.Name));
    }

    /// <summary>Brings back what was in force, and follows what other hosts do from then on. Once, before anything else.</summary>
    /// <exception cref="RouterStoreException">The store cannot be read.</exception>
    public Task Restore(CancellationToken cancellationToken) => _routers.Restore(cancellationToken);

    /// <summary>From here on, with no usable script, the emergency router serves.</summary>
    public void AllowEmergency()
    {
        lock (_lock)
        {
            _mayTakeOver = true;
            CheckEmergency_NeedsLock();
        }
    }

    /// <summary>Makes the compiler quick; to be run in the background once what serves is in force.</summary>
    /// <param name="compiles">How often to compile for it.</param>
    public Task WarmUp(int compiles, CancellationToken cancellationToken) => new CompilerWarmUp(_compiler, _queue, _time).Run(
        [.. _routers.Slots.Select(slot => slot.Active?.Source).OfType<ScriptSource>()], compiles, cancellationToken);

    /// <summary>Compiles a text and changes nothing.</summary>
    /// <exception cref="RouterRefusedException">The name is not valid, or too many compiles wait.</exception>
    public async Task<(ScriptSource Source, IReadOnlyList<RouterDiagnostic> Diagnostics)> Check(string name, string text, CancellationToken cancellationToken)
    {
        RouterNames.Check(name);
        using var place = _queue.Enter();
        var source = await _compiler.ReadAsync(name, text, cancellationToken);
        return (source, (await _queue.Compile(source, $"check-{name}", cancellationToken)).Diagnostics);
    }

    /// <summary>Makes a version of a text, and activates it if asked. A text that fails changes nothing but the list of versions.</summary>
    /// <exception cref="RouterRefusedException">The name is not valid, too many compiles wait, or the store cannot be written.</exception>
    public Task<RouterPutResult> Put(RouterSubmission submission, CancellationToken cancellationToken) => _intake.Put(submission, cancellationToken);

    /// <summary>
    /// Lets a version serve its name, or a share of its requests beside the active one. It is loaded again if need be. Without a share it ends a canary.
    /// </summary>
    /// <exception cref="RouterRefusedException">No such router or version, it does not load any more, or the store cannot be written.</exception>
    public async Task<RouterVersionInfo> Activate(string name, VersionSelector version, RouterActivation activation, CancellationToken cancellationToken)
    {
        var (slot, number) = Resolve(name, version);
        await Load(slot, number, cancellationToken);
        await _routers.Commit(table => new StoreCommit(activation.Change(table[name], slot, number)), cancellationToken);
        return Describe(slot, number);
    }

    /// <summary>Ends the canary if there is one; else activates the version that was active before.</summary>
    /// <param name="onlyFrom">Takes out this version, be it the canary or the active one (a canary beside it ends too), and no other.</param>
    /// <returns>The version that serves now.</returns>
    /// <exception cref="RouterRefusedException">No such router, nothing to go back to, or the store cannot be written.</exception>
    public async Task<RouterVersionInfo> Rollback(string name, RouterCause cause, int? onlyFrom, CancellationToken cancellationToken)
    {
        var slot = Slot(name);
        while (NextRollback(slot, onlyFrom) is { } target && !await TryLoad(slot, target, cancellationToken))
        {
            // What does not load any more is passed over.
        }

        await _routers.Commit(
            table =>
            {
                var route = table[name];
                var from = TakenOut(route, onlyFrom);
                if (onlyFrom is { } only && only != from)
                {
                    throw RouterRefusals.Overtaken(name, only, from);
                }

                var target = from != route.Active ? route.Active : slot.RollbackTarget is { } past && route.Past.Contains(past) ? past : null;
                return target is null
                    ? throw RouterRefusals.NoPrevious(name)
                    : new StoreCommit([new RouterChange(RouterChangeKind.RolledBack, name) { Version = target, From = from, By = cause.By, Reason = cause.Reason }]);
            },
            cancellationToken);
        return Describe(slot, slot.Route.Active ?? 0);
    }

    /// <summary>Lets a label name a version; it is kept loaded from then on.</summary>
    /// <exception cref="RouterRefusedException">No such router or version, it does not load any more, the label is malformed, or the store cannot be written.</exception>
    public async Task<RouterVersionInfo> SetLabel(string name, string label, VersionSelector version, RouterCause cause, CancellationToken cancellationToken)
    {
        RouterRefusals.CheckLabel(label);
        var (slot, number) = Resolve(name, version);
        await Load(slot, number, cancellationToken);
        await _routers.Commit(
            table => new StoreCommit(table[name] switch
            {
                var route when !route.Known.Contains(number) => throw RouterRefusals.NoVersion(slot, number.ToString(System.Globalization.CultureInfo.InvariantCulture)),
                var route when route.Labels.TryGetValue(label, out var now) && now == number => [],
                _ => [new RouterChange(RouterChangeKind.Labelled, name) { Label = label, Version = number, By = cause.By, Reason = cause.Reason }],
            }),
            cancellationToken);
        return Describe(slot, number);
    }

    /// <exception cref="RouterRefusedException">No such router or label, or the store cannot be written.</exception>
    public async Task RemoveLabel(string name, string label, RouterCause cause, CancellationToken cancellationToken)
    {
        var slot = Slot(name);
        await _routers.Commit(
            table => table[name].Labels.ContainsKey(label)
                ? new StoreCommit([new RouterChange(RouterChangeKind.Unlabelled, name) { Label = label, By = cause.By, Reason = cause.Reason }])
                : throw RouterRefusals.NoVersion(slot, label),
            cancellationToken);
    }

    /// <summary>Forgets a version, or lets a name serve no more.</summary>
    /// <exception cref="RouterRefusedException">No such router or version, or it is in use; the message says by what.</exception>
    public async Task Delete(string name, VersionSelector? version, RouterCause cause, CancellationToken cancellationToken)
    {
        var slot = Slot(name);
        if (version is { } selector)
        {
            var (_, number) = Resolve(name, selector, orRejected: true);
            await _routers.Commit(table => new StoreCommit([Deletion(slot, table[name], number, cause)]), cancellationToken);
            return;
        }

        lock (_lock)
        {
            foreach (var known in slot.Stored.Keys.Where(known => _view.Leases(slot, known) > 0))
            {
                throw RouterRefusals.InUse(slot.Name, known, _view.Leases(slot, known));
            }

            if (slot.Serving.Usable.IsEmpty && slot.Route.Active is null)
            {
                throw RouterRefusals.NothingToDelete(name);
            }
        }

        await Retire(name, seen: null, cause, cancellationToken);
    }

    /// <summary>Lets a name serve no more; requests on it end undisturbed, and its versions are kept.</summary>
    /// <param name="seen">Written with it; null for nothing.</param>
    /// <exception cref="RouterRefusedException">No such router, it is the default router or labelled, or the store cannot be written.</exception>
    public async Task Retire(string name, FileSeen? seen, RouterCause cause, CancellationToken cancellationToken)
    {
        var slot = Slot(name);
        if (name == _defaultRouter)
        {
            throw RouterRefusals.IsDefault(name);
        }

        await _routers.Commit(
            table => table[name].Labels is { IsEmpty: false } labels
                ? throw RouterRefusals.IsLabelled(name, labels.Keys)
                : new StoreCommit([new RouterChange(RouterChangeKind.Deleted, name) { By = cause.By, Reason = cause.Reason }], Seen: seen),
            cancellationToken);
    }

    /// <summary>What hosts last made of their routers' files.</summary>
    /// <exception cref="RouterRefusedException">The store cannot be read.</exception>
    public Task<IReadOnlyList<FileSeen>> ReadFilesSeen(CancellationToken cancellationToken) => RouterRefusals.FromStore(() => _store.ReadFilesSeen(cancellationToken));

    /// <summary>All names that have versions, in alphabetical order.</summary>
    public IReadOnlyList<RouterInfo> List()
    {
        lock (_lock)
        {
            return _view.List_NeedsLock();
        }
    }

    /// <summary>A version with its text; the active one, or else the newest, if none is named.</summary>
    /// <exception cref="RouterRefusedException">No such router or version, or the store cannot be read.</exception>
    public async Task<RouterSourceInfo> Get(string name, VersionSelector? version, CancellationToken cancellationToken)
    {
        var (slot, number) = version is { } selector ? Resolve(name, selector, orRejected: true) : Shown(name);
        var files = slot.Serving.Usable.GetValueOrDefault(number)?.Source.Files ?? await RouterRefusals.FromStore(() => _store.ReadFiles(name, number, cancellationToken));
        lock (_lock)
        {
            return new RouterSourceInfo(_view.Describe_NeedsLock(slot, number), files ?? [], RouterView.Diagnostics_NeedsLock(slot, number));
        }
    }

    /// <summary>Retires every version and waits until they are unloaded; those whose requests do not end are left after a while. The log is left as it is.</summary>
    public async ValueTask DisposeAsync()
    {
        _routers.Dispose();
        await _routers.Ended();
        _routers.RetireAll();
        await _retirement.End(_time);
    }

    private RouterChange Deletion(RouterSlot slot, RouterRoute route, int number, RouterCause cause)
    {
        if (route.UseOf(number) is { } use)
        {
            throw RouterRefusals.CannotForget(slot.Name, number, use);
        }

        return _view.Leases(slot, number) is > 0 and var leases
            ? throw RouterRefusals.InUse(slot.Name, number, leases)
            : new RouterChange(RouterChangeKind.Deleted, slot.Name) { Version = number, By = cause.By, Reason = cause.Reason };
    }

    private static int? TakenOut(RouterRoute route, int? onlyFrom) => onlyFrom == route.Active ? onlyFrom : route.Canary?.Version ?? route.Active;

    /// <summary>A version that a rollback would let serve and that is not loaded.</summary>
    private int? NextRollback(RouterSlot slot, int? onlyFrom)
    {
        lock (_lock)
        {
            return TakenOut(slot.Route, onlyFrom) == slot.Route.Active && slot.RollbackTarget is { } target && !slot.Serving.Usable.ContainsKey(target) ? target : null;
        }
    }

    private async Task Load(RouterSlot slot, int number, CancellationToken cancellationToken)
    {
        if (!await TryLoad(slot, number, cancellationToken))
        {
            throw RouterRefusals.DoesNotLoad(slot, number);
        }
    }

    private async Task<bool> TryLoad(RouterSlot slot, int number, CancellationToken cancellationToken)
    {
        if (slot.Serving.Usable.ContainsKey(number))
        {
            return true;
        }

        using var place = _queue.Enter();
        await slot.Turn.WaitAsync(cancellationToken);
        try
        {
            return await RouterRefusals.FromStore(() => _routers.LoadStored(slot, number, cancellationToken));
        }
        finally
        {
            slot.Turn.Release();
        }
    }

    private RouterSlot Slot(string name) => _routers.Find(name) is { HasVersions: true } slot ? slot : throw RouterRefusals.NoRouter(name);

    private (RouterSlot Slot, int Number) Resolve(string name, VersionSelector version, bool orRejected = false)
    {
        var slot = Slot(name);
        lock (_lock)
        {
            var number = version.Number ?? (slot.Route.Labels.TryGetValue(version.Label!, out var labelled) ? labelled : 0);
            return slot.Route.Known.Contains(number) || (orRejected && slot.Stored.ContainsKey(number)) ? (slot, number)
                : slot.Stored.ContainsKey(number) ? throw RouterRefusals.WasRejected(slot, number)
                : throw RouterRefusals.NoVersion(slot, version.ToString());
        }
    }

    private (RouterSlot Slot, int Number) Shown(string name)
    {
        var slot = Slot(name);
        lock (_lock)
        {
            return (slot, slot.Active?.Number ?? slot.Stored.Keys.Last());
        }
    }

    private RouterVersionInfo Describe(RouterSlot slot, int number)
    {
        lock (_lock)
        {
            return _view.Describe_NeedsLock(slot, number);
        }
    }

    private void CheckEmergency_NeedsLock()
    {
        if (_mayTakeOver)
        {
            var main = _routers.Find(_defaultRouter);
            var isNeeded = main?.Active is null && (main?.HasVersions == true || _routers.Slots.All(slot => slot.Active is null));
            _emergency.Set(!isNeeded ? null : main?.HasVersions == true ? $"no version of the default router {_defaultRouter} can serve" : "there is no usable router");
        }
    }
}
