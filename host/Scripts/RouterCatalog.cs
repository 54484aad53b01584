using System.Collections.Concurrent;
using ScriptedServe.Host.Admin;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// All routers of the host: compiles, loads, activates, drains and unloads their versions (the driver of <see cref="RouterLifecycle"/>),
/// and pins one for each request.
/// </summary>
/// <remarks>
/// A text becomes a version in these steps: (1) its name's turn; (2) the text and what it loads are read and hashed; the same text loaded
/// already ends here; (3) compile, one at a time on the whole host; (4) load, top-level statements and OnLoad included; (5) publish under the lock;
/// (6) retire what is more than should be kept. Until (5) nothing has changed.
/// </remarks>
public sealed class RouterCatalog : IRouterCatalog, IAsyncDisposable
{
    private readonly ScriptCompiler _compiler;
    private readonly ScriptLimits _limits;
    private readonly string _defaultRouter;
    private readonly TimeProvider _time;
    private readonly IHostEvents _events;
    private readonly ILogger _log;
    private readonly ScriptCalls _calls;
    private readonly CompileQueue _queue;
    private readonly VersionLoader _loader;
    private readonly VersionRetirement _retirement;

    private readonly Lock _lock = new();
    private readonly ConcurrentDictionary<string, RouterSlot> _slots = new(StringComparer.Ordinal);

    /// <param name="globals">Makes the globals of a version from its name and number.</param>
    /// <param name="defaultRouter">Serves requests that name none.</param>
    /// <param name="time">Of limits on waiting and PlanStrategy's interval. Thread time is measured on <paramref name="machineTime"/>.</param>
    public RouterCatalog(
        ScriptCompiler compiler, ScriptLimits limits, Func<string, int, RouterGlobals> globals, string defaultRouter,
        TimeProvider time, TimeProvider machineTime, IHostEvents events, ILogger<RouterCatalog> log)
    {
        RouterNames.Check(defaultRouter);
        _compiler = compiler;
        _limits = limits;
        _defaultRouter = defaultRouter;
        _time = time;
        _events = events;
        _log = log;
        _calls = new ScriptCalls(time, limits.Budget(machineTime));
        _queue = new CompileQueue(compiler, limits);
        _loader = new VersionLoader(_queue, globals, _calls, limits);
        _retirement = new VersionRetirement(_lock, _calls, limits, events, log);
    }

    public string DefaultRouter => _defaultRouter;

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

    public IRouterLease Acquire(string? spec)
    {
        if (!RouterNames.TryParse(spec ?? _defaultRouter, out var name, out var number))
        {
            throw new RouterNotFoundException($"\"{spec}\" names no router: use a name or name@version");
        }

        if (_slots.TryGetValue(name, out var slot))
        {
            // A version that was retired between the read and the pin is no longer the one that the next read gives.
            while ((number is { } wanted ? slot.Usable.GetValueOrDefault(wanted) : slot.Active) is { } version)
            {
                if (version.TryPin())
                {
                    version.CountRequest();
                    return new RouterLease(version, _calls.Budget);
                }
            }
        }

        throw RouterRefusals.NotServing(name, number, slot, isDefault: spec is null, _slots.Values.Where(other => other.Active is not null).Select(other => other.Name));
    }

    /// <summary>Compiles the compiler's own code paths, so that the first change is as quick as the next.</summary>
    public async Task WarmUp(CancellationToken cancellationToken)
    {
        var source = _compiler.Read("warm-up", "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);");
        await _queue.Compile(source, "warm-up", cancellationToken);
    }

    /// <summary>Compiles a text and changes nothing.</summary>
    /// <exception cref="RouterRefusedException">The name is not valid, or too many compiles wait.</exception>
    public async Task<(ScriptSource Source, IReadOnlyList<RouterDiagnostic> Diagnostics)> Check(string name, string text, CancellationToken cancellationToken)
    {
        RouterNames.Check(name);
        using var place = _queue.Enter();
        var source = _compiler.Read(name, text);
        return (source, (await _queue.Compile(source, $"check-{name}", cancellationToken)).Diagnostics);
    }

    /// <summary>Makes a version of a text, and activates it if asked. A text that fails changes nothing but the list of versions.</summary>
    /// <exception cref="RouterRefusedException">The name is not valid, or too many compiles wait.</exception>
    public async Task<RouterPutResult> Put(RouterSubmission submission, CancellationToken cancellationToken)
    {
        RouterNames.Check(submission.Name);
        using var place = _queue.Enter();
        var slot = _slots.GetOrAdd(submission.Name, static name => new RouterSlot(name));

        // 1
        await slot.Turn.WaitAsync(cancellationToken);
        try
        {
            // 2
            var source = _compiler.Read(submission.Name, submission.Text);
            int number;
            lock (_lock)
            {
                if (slot.FindUsable(source.Hash) is { } same)
                {
                    ActivateIfAsked_NeedsLock(slot, same, submission);
                    return new RouterPutResult(Describe(same), Created: false, same.Diagnostics, source);
                }

                number = slot.NumberFor(source.Hash);
            }

            return await Create(slot, new RouterVersion(submission.Name, number, source, submission.Origin, _time.GetUtcNow()), submission, cancellationToken);
        }
        finally
        {
            slot.Turn.Release();
        }
    }

    /// <summary>Lets a loaded version serve its name. Activating the active version only changes its options.</summary>
    /// <exception cref="RouterRefusedException">No such router, or the version is not loaded.</exception>
    public RouterVersionInfo Activate(string name, int version, IReadOnlyDictionary<string, string>? options = null)
    {
        lock (_lock)
        {
            var slot = Slot(name);
            var found = slot.Usable.GetValueOrDefault(version) ?? throw RouterRefusals.NotLoaded(slot, version);
            Activate_NeedsLock(slot, found, options);
            return Describe(found);
        }
    }

    /// <summary>Activates the version that was active before.</summary>
    /// <exception cref="RouterRefusedException">No such router, or no earlier version is loaded.</exception>
    public RouterVersionInfo Rollback(string name)
    {
        lock (_lock)
        {
            var slot = Slot(name);
            var target = slot.RollbackTarget ?? throw RouterRefusals.NoPrevious(name);
            var from = slot.Active?.Label ?? "none";
            slot.Rollback(target);
            Published_NeedsLock(slot, target, "router.rolled_back", $"{target.Label} serves again in place of {from}");
            return Describe(target);
        }
    }

    /// <summary>Gives up a version, or all versions of a name; requests on it end undisturbed.</summary>
    /// <exception cref="RouterRefusedException">No such router or version, or it is in use; the message says by what.</exception>
    public void Delete(string name, int? version)
    {
        lock (_lock)
        {
            var slot = Slot(name);
            if (version is { } number)
            {
                var found = slot.Known.FirstOrDefault(known => known.Number == number) ?? throw RouterRefusals.NotLoaded(slot, number);
                DeleteVersion_NeedsLock(slot, found);
                return;
            }

            if (name == _defaultRouter)
            {
                throw RouterRefusals.IsDefault(name);
            }

            if (slot.Known.FirstOrDefault(known => known.Leases > 0) is { } busy)
            {
                throw RouterRefusals.InUse(busy);
            }

            if (slot.Usable.Count == 0)
            {
                throw RouterRefusals.NothingToDelete(name);
            }

            foreach (var usable in slot.Usable.Values)
            {
                Retire_NeedsLock(slot, usable);
            }

            _events.Publish("router.deleted", name, $"{name} serves no more");
            _log.LogInformation("{Router} was deleted", name);
        }
    }

    /// <summary>All names that have versions, in alphabetical order.</summary>
    public IReadOnlyList<RouterInfo> List()
    {
        lock (_lock)
        {
            return [.. _slots.Values.Where(slot => slot.Known.Count > 0).OrderBy(slot => slot.Name, StringComparer.Ordinal).Select(slot => new RouterInfo(
                slot.Name, slot.Active?.Number, slot.Name == _defaultRouter, [.. slot.Known.Reverse().Select(Describe)]))];
        }
    }

    /// <summary>A version with its text; the active one, or else the newest, if none is named.</summary>
    /// <exception cref="RouterRefusedException">No such router or version.</exception>
    public RouterSourceInfo Get(string name, int? version)
    {
        lock (_lock)
        {
            var slot = Slot(name);
            var found = version is { } number
                ? slot.Known.FirstOrDefault(known => known.Number == number)
                : slot.Active ?? slot.Known[^1];
            return found is null ? throw RouterRefusals.NotLoaded(slot, version!.Value) : new RouterSourceInfo(Describe(found), found.Source.Files, found.Diagnostics);
        }
    }

    /// <summary>Retires every version and waits until they are unloaded; those whose requests do not end are left after a while.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            foreach (var slot in _slots.Values)
            {
                foreach (var version in slot.Usable.Values)
                {
                    Retire_NeedsLock(slot, version);
                }
            }
        }

        await _retirement.End(_time);
    }

    private async Task<RouterPutResult> Create(RouterSlot slot, RouterVersion version, RouterSubmission submission, CancellationToken cancellationToken)
    {
        // 3, 4
        if (await _loader.Load(version, submission.Options, cancellationToken) is not { } script)
        {
            return Reject(slot, version);
        }

        // 5
        lock (_lock)
        {
            version.Load(script);
            _retirement.Loaded_NeedsLock(version.Context!);
            slot.Remember(version, _limits.History);
            if (!submission.Activate)
            {
                _events.Publish("router.loaded", version.Label, $"{version.Label} is loaded");
            }

            ActivateIfAsked_NeedsLock(slot, version, submission);

            // 6
            RetireSurplus_NeedsLock(slot);
            return new RouterPutResult(Describe(version), Created: true, version.Diagnostics, version.Source);
        }
    }

    private RouterPutResult Reject(RouterSlot slot, RouterVersion version)
    {
        var first = version.Diagnostics.First(diagnostic => diagnostic.IsError);
        lock (_lock)
        {
            version.Step(RouterStep.Reject);
            slot.Remember(version, _limits.History);
            _events.Publish("router.rejected", version.Label, $"{version.Label} was rejected: {first}");
            return new RouterPutResult(Describe(version), Created: true, version.Diagnostics, version.Source);
        }
    }

    private void ActivateIfAsked_NeedsLock(RouterSlot slot, RouterVersion version, RouterSubmission submission)
    {
        if (submission.Activate)
        {
            Activate_NeedsLock(slot, version, submission.Options);
        }
    }

    private void Activate_NeedsLock(RouterSlot slot, RouterVersion version, IReadOnlyDictionary<string, string>? options)
    {
        if (options is not null)
        {
            version.Options?.Activate(options);
        }

        if (slot.Active != version)
        {
            var from = slot.Active;
            slot.Activate(version);
            Published_NeedsLock(slot, version, "router.activated", from is null ? $"{version.Label} serves" : $"{version.Label} serves in place of {from.Label}");
        }
    }

    private void Published_NeedsLock(RouterSlot slot, RouterVersion active, string kind, string text)
    {
        slot.Plan?.Dispose();
        slot.Plan = null;
        if (active.HasPlan)
        {
            slot.Plan = new PlanDriver(active, _calls, TimeSpan.FromMilliseconds(_limits.PlanIntervalMs), TimeSpan.FromMilliseconds(_limits.PlanLimitMs), _log);
            slot.Plan.Start();
        }

        _events.Publish(kind, active.Label, text);
        _log.LogInformation("{Event}", text);
        RetireSurplus_NeedsLock(slot);
    }

    private void RetireSurplus_NeedsLock(RouterSlot slot)
    {
        foreach (var surplus in slot.Surplus(_limits.VersionsKept))
        {
            Retire_NeedsLock(slot, surplus);
        }
    }

    private void DeleteVersion_NeedsLock(RouterSlot slot, RouterVersion version)
    {
        if (version == slot.Active)
        {
            throw RouterRefusals.IsActive(version);
        }

        if (version.Leases > 0)
        {
            throw RouterRefusals.InUse(version);
        }

        if (version.Phase == RouterPhase.Loaded)
        {
            Retire_NeedsLock(slot, version);
        }

        slot.Forget(version);
        _events.Publish("router.deleted", version.Label, $"{version.Label} was deleted");
    }

    private void Retire_NeedsLock(RouterSlot slot, RouterVersion version)
    {
        if (version == slot.Active)
        {
            slot.Plan?.Dispose();
            slot.Plan = null;
        }

        slot.Retire(version);
        _retirement.Begin_NeedsLock(version);
    }

    private RouterSlot Slot(string name) =>
        _slots.TryGetValue(name, out var slot) && slot.Known.Count > 0
            ? slot
            : throw RouterRefusals.NoRouter(name);

    private RouterVersionInfo Describe(RouterVersion version)
    {
        var all = _slots.Values.Sum(slot => slot.Known.Sum(known => known.Requests));
        return new RouterVersionInfo(
            version.Name, version.Number, version.Phase, version.Source.Hash, version.Origin.Author, version.Origin.Message, version.Time,
            version.Leases, version.Requests, version.Errors, version.PlanErrors,
            all == 0 ? 0 : (double)version.Requests / all, version.Options?.Values ?? new Dictionary<string, string>());
    }
}
