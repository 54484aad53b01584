namespace ScriptedServe.Engine.Scheduling;

/// <summary>What bounds an engine; the options they are set by name them in errors.</summary>
public sealed record EngineLimits
{
    /// <summary>Tokens computed in a step.</summary>
    public int MaxBatchTokens { get; init; } = 512;

    /// <summary>Sequences that run at a time.</summary>
    public int MaxSequences { get; init; } = 64;

    /// <summary>The next step is launched before the outcome of the last one is known, where the runner computes beside its caller.</summary>
    public bool OverlapSteps { get; init; } = true;

    /// <summary>Calls that may wait for pages or a seat.</summary>
    public int MaxWaiting { get; init; } = 1024;

    /// <summary>How long a call may wait for pages or a seat, each time.</summary>
    public TimeSpan MaxWait { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A reservation's lease if the call names none.</summary>
    public TimeSpan DefaultLease { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The longest lease a call may ask for, the longest a reservation lives with all renewals, and so the longest that one send is waited for.</summary>
    public TimeSpan MaxLease { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Chunks of a generation that may lie unread before it pauses.</summary>
    public int OutputChunks { get; init; } = 64;

    /// <summary>How long a paused generation keeps its seat and pages while others wait for either.</summary>
    public TimeSpan MaxPause { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long a generation may be paused, its caller reading nothing, before it is ended.</summary>
    public TimeSpan MaxUnread { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How long a send whose KV is computed waits for a receiver that takes nothing.</summary>
    public TimeSpan SendTimeout { get; init; } = TimeSpan.FromSeconds(30);
}
