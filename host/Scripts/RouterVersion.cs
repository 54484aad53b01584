namespace ScriptedServe.Host.Scripts;

/// <summary>One version of a router: what it is, where it stands, and who uses it.</summary>
/// <remarks>
/// <see cref="Phase"/> changes under the catalog's lock only. Pins are counted without a lock: the count is biased far below zero when
/// the version is retired, so that a pin taken at the same moment either counts before (and drains) or fails (and is taken elsewhere).
/// </remarks>
/// <param name="counts">Of the version, however often it is loaded; null for new ones.</param>
internal sealed class RouterVersion(string name, int number, ScriptSource source, RouterOrigin origin, DateTimeOffset time, VersionCounts? counts = null)
{
    private const long Retired = long.MinValue / 2;

    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private LoadedScript? _script;
    private long _pins;

    public string Name { get; } = name;

    public int Number { get; } = number;

    public ScriptSource Source { get; } = source;

    public RouterOrigin Origin { get; } = origin;

    public DateTimeOffset Time { get; } = time;

    public string Label { get; } = $"{name}@{number}";

    public RouterPhase Phase { get; private set; }

    /// <summary>Of the compile and of the load.</summary>
    public IReadOnlyList<RouterDiagnostic> Diagnostics { get; set; } = [];

    /// <summary>The values its globals' Options show.</summary>
    public RouterOptionValues? Options { get; set; }

    /// <summary>The clock its globals show.</summary>
    public ScriptClock? Clock { get; set; }

    /// <summary>Alive as long as its load context is.</summary>
    public WeakReference? Context { get; private set; }

    /// <summary>Requests being served, PlanStrategy included.</summary>
    public long Leases
    {
        get
        {
            var pins = Interlocked.Read(ref _pins);
            return pins < 0 ? pins - Retired : pins;
        }
    }

    public VersionCounts Counts { get; } = counts ?? new VersionCounts();

    /// <summary>Ends when the version is retired and its last pin is gone.</summary>
    public Task Drained => _drained.Task;

    /// <summary>The loaded script. Only for a holder of a pin, and for the catalog.</summary>
    public LoadedScript Script => _script ?? throw new InvalidOperationException($"{Label} is not loaded");

    public bool HasPlan => _script?.PlanStrategy is not null;

    public void Step(RouterStep step) =>
        Phase = RouterLifecycle.Next(Phase, step) ?? throw new InvalidOperationException($"{Label}: {step} is not possible when {Phase}");

    public void Load(LoadedScript script)
    {
        _script = script;
        Context = script.Context;
        Step(RouterStep.Load);
    }

    /// <summary>Keeps the version loaded until <see cref="Unpin"/>.</summary>
    /// <returns>False if it has been retired.</returns>
    public bool TryPin()
    {
        if (Interlocked.Increment(ref _pins) > 0)
        {
            return true;
        }

        Unpin();
        return false;
    }

    public void Unpin()
    {
        if (Interlocked.Decrement(ref _pins) == Retired)
        {
            _drained.TrySetResult();
        }
    }

    /// <summary>No pin succeeds from here on.</summary>
    public void Retire()
    {
        Step(RouterStep.Retire);
        if (Interlocked.Add(ref _pins, Retired) == Retired)
        {
            _drained.TrySetResult();
        }
    }

    /// <summary>Lets go of the script. The load context ends when nothing refers to it any more.</summary>
    public void Unload()
    {
        _script?.Unload();
        _script = null;
        Options = null;
        Clock?.Dispose();
        Clock = null;
    }
}

/// <summary>What a version did since the host started.</summary>
internal sealed class VersionCounts
{
    private long _requests;
    private long _errors;
    private long _planErrors;
    private long _plansSkipped;

    public long Requests => Interlocked.Read(ref _requests);

    public long Errors => Interlocked.Read(ref _errors);

    public long PlanErrors => Interlocked.Read(ref _planErrors);

    public long PlansSkipped => Interlocked.Read(ref _plansSkipped);

    public void CountRequest() => Interlocked.Increment(ref _requests);

    public void CountError() => Interlocked.Increment(ref _errors);

    public void CountPlanError() => Interlocked.Increment(ref _planErrors);

    public void CountPlansSkipped(long count) => Interlocked.Add(ref _plansSkipped, count);
}

/// <summary>Who made a version and why.</summary>
/// <param name="Author">May be empty.</param>
/// <param name="Message">May be empty.</param>
public sealed record RouterOrigin(string Author, string Message);
