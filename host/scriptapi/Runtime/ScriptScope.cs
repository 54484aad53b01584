namespace ScriptedServe.Scripting.Runtime;

/// <summary>What a script may use each time it has the thread: from a call or resumption to its next await that really waits.</summary>
/// <param name="Run">
/// Time on the thread, and on those that other parts of the same call have meanwhile. Stalls (the machine busy, a collection) count at most
/// an eighth of it each.
/// </param>
/// <param name="AllocatedBytes">Bytes allocated on the thread.</param>
/// <param name="CancelGrace">How long a cancelled script may go on, to clean up.</param>
/// <param name="Clock">Measures Run and CancelGrace. Real time even where routers see a virtual clock: it guards the machine.</param>
/// <param name="Total">Time on threads of one request in all, from its first call to its end.</param>
public sealed record ScriptBudget(TimeSpan Run, long AllocatedBytes, TimeSpan CancelGrace, TimeProvider Clock, TimeSpan Total)
{
    /// <summary>Async functions of the script that one call may have under way at once, awaited or not.</summary>
    public int AsyncCalls { get; init; } = 1000;
}

/// <summary>
/// One call from the host into a script (a request, PlanStrategy, OnLoad ...) and all that it starts. It flows with the execution
/// context, so that each thread that takes up a part of the call starts a fresh budget there.
/// </summary>
/// <param name="budget">See <see cref="ScriptBudget"/>.</param>
/// <param name="router">Name and version, for messages.</param>
/// <param name="requestId">The request being served, or null.</param>
/// <param name="stop">Set when the call should end; after the grace the script is stopped at its next check.</param>
/// <param name="record">Where the host writes down what the call does, or null.</param>
/// <remarks>
/// It must never refer to anything of the script: it may outlive the version. Time and allocation count from <see cref="Enter"/>,
/// <see cref="Resume"/> or a thread's taking up the flow, until <see cref="Leave"/> or the thread's leaving the flow.
/// </remarks>
public sealed class ScriptScope(ScriptBudget budget, string router, string? requestId, CancellationToken stop, ScriptRecord? record = null)
{
    // The handler runs whenever a thread takes up or leaves a flow: after an await that waited, in Task.Run, in a timer.
    private static readonly AsyncLocal<ScriptScope?> Flow = new(static change => ScriptGuard.Begin(change.CurrentValue));

    private long _stopSeen;
    private int _asyncCalls;
    private long _usedTicks;
    private volatile string? _stopped;
    private IAsyncEnumerable<Chunk>? _handedOn;

    /// <summary>The call this code runs in, or null outside scripts.</summary>
    public static ScriptScope? Current => Flow.Value;

    /// <summary>Name and version of the router.</summary>
    public string Router { get; } = router;

    /// <summary>The request being served, or null.</summary>
    public string? RequestId { get; } = requestId;

    /// <summary>Where the host writes down what the call does, or null.</summary>
    public ScriptRecord? Record { get; } = record;

    /// <summary>No turn of the call can take long: it may run on any thread, and need not be brought to one of the pool.</summary>
    public bool HasShortTurns { get; init; }

    internal ScriptBudget Budget { get; } = budget;

    /// <summary>The limit that some part of the call passed: all of it is stopped, on whatever thread it runs.</summary>
    internal string? Stopped => _stopped;

    /// <summary>The host calls this right before it calls into the script: from here a fresh budget runs on this thread.</summary>
    public void Enter()
    {
        if (!ReferenceEquals(Flow.Value, this))
        {
            Flow.Value = this;
        }

        ScriptGuard.Begin(this);
    }

    /// <summary>The thread goes back to the host's own work, or into it: what it used until here was the script's.</summary>
    public void Leave() => ScriptGuard.Pause(this);

    /// <summary>The host returns to the script: what was used since the last leave, or since the thread took up the flow, was the host's.</summary>
    public void Resume() => ScriptGuard.Resume(this);

    /// <summary>The stream that <see cref="ScriptGuard.HandOn"/> gave the host to read; once.</summary>
    /// <param name="yielded">What the router yielded.</param>
    /// <returns>Null where it is a chunk.</returns>
    public IAsyncEnumerable<Chunk>? TakeHandedOn(Chunk yielded)
    {
        if (!ReferenceEquals(yielded, ScriptGuard.HandedOn))
        {
            return null;
        }

        var chunks = _handedOn;
        _handedOn = null;
        return chunks;
    }

    internal void HandOn(IAsyncEnumerable<Chunk> chunks) => _handedOn = chunks;

    internal void Stop(string limit) => _stopped ??= limit;

    /// <summary>Adds time that a part of the call used on a thread, or takes it back as the part gives its thread up.</summary>
    /// <returns>What the parts that have a thread now used together.</returns>
    internal TimeSpan Use(TimeSpan time) => new(Interlocked.Add(ref _usedTicks, time.Ticks));

    /// <summary>Counts an async function in; false if there are as many as may be.</summary>
    internal bool TryBeginAsync()
    {
        if (Interlocked.Increment(ref _asyncCalls) <= Budget.AsyncCalls)
        {
            return true;
        }

        EndAsync();
        return false;
    }

    internal void EndAsync() => Interlocked.Decrement(ref _asyncCalls);

    /// <summary>True once the call was told to stop and its grace is over.</summary>
    internal bool MustStop(long now)
    {
        if (!stop.IsCancellationRequested)
        {
            return false;
        }

        var seen = Interlocked.CompareExchange(ref _stopSeen, now, 0);
        return seen != 0 && Budget.Clock.GetElapsedTime(seen, now) > Budget.CancelGrace;
    }
}
