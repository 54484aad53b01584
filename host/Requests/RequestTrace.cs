using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>What is told of one request: where it stands, and every sub-call it made. Thread-safe; keeps no object of a script alive.</summary>
public sealed class RequestTrace
{
    private readonly Lock gate = new();
    private readonly List<SubCall> calls = [];
    private readonly TimeProvider time;
    private readonly long startStamp;
    private readonly Action<SubCall>? callEnded;

    internal RequestTrace(string id, string router, int promptTokens, TimeProvider time, Action<SubCall>? callEnded = null)
    {
        Id = id;
        Router = router;
        PromptTokens = promptTokens;
        this.time = time;
        this.callEnded = callEnded;
        startStamp = time.GetTimestamp();
        Started = time.GetUtcNow();
    }

    public string Id { get; }

    /// <summary><c>name@version</c>.</summary>
    public string Router { get; }

    public DateTimeOffset Started { get; }

    public int PromptTokens { get; }

    public int OutputTokens { get; private set; }

    public double? TtftMs { get; private set; }

    /// <summary>From arrival to the end, however it ended.</summary>
    public double? DurationMs { get; private set; }

    public FinishReason? FinishReason { get; private set; }

    public CallOutcome Outcome { get; private set; } = CallOutcome.Running;

    public string? Error { get; private set; }

    /// <summary>In the order of their starts; a copy.</summary>
    public IReadOnlyList<SubCall> Calls
    {
        get
        {
            lock (gate)
            {
                return [.. calls];
            }
        }
    }

    /// <summary>Milliseconds since the request's arrival.</summary>
    internal double ElapsedMs => time.GetElapsedTime(startStamp).TotalMilliseconds;

    internal SubCall Begin(string engine, string call, int? begin = null, int? end = null)
    {
        var started = new SubCall(engine, call, begin, end, ElapsedMs);
        lock (gate)
        {
            calls.Add(started);
        }

        return started;
    }

    /// <summary>Settles a sub-call; later settlements of the same call change nothing.</summary>
    internal void End(SubCall call, CallOutcome outcome, string? error = null)
    {
        lock (gate)
        {
            if (call.HasEnded)
            {
                return;
            }

            call.DurationMs = ElapsedMs - call.StartMs;
            call.Error = error;
            call.Outcome = outcome;
        }

        callEnded?.Invoke(call);
    }

    internal void Emitted(int tokens)
    {
        if (tokens > 0)
        {
            TtftMs ??= ElapsedMs;
            OutputTokens += tokens;
        }
    }

    /// <summary>Settles the request; later settlements change nothing.</summary>
    internal bool End(CallOutcome outcome, FinishReason? finish = null, string? error = null)
    {
        lock (gate)
        {
            if (Outcome != CallOutcome.Running)
            {
                return false;
            }

            DurationMs = ElapsedMs;
            FinishReason = finish;
            Error = error;
            Outcome = outcome;
            return true;
        }
    }
}
