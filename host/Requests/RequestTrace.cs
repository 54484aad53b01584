using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Requests;

/// <summary>
/// What is told of one request: where it stands, every sub-call it made, and what its script saw, decided and said. Thread-safe; keeps no
/// object of a script alive.
/// </summary>
public sealed class RequestTrace : ScriptRecord
{
    private const int FixedBytes = 400;
    private const int CallBytes = 360;

    private readonly Lock gate = new();
    private readonly List<SubCall> calls = new(4);
    private readonly TimeProvider time;
    private readonly TraceSettings settings;
    private readonly long startStamp;
    private readonly Action<SubCall>? callEnded;
    private DecisionLog? decisions;

    internal RequestTrace(string id, string router, int promptTokens, TimeProvider time, Action<SubCall>? callEnded = null, TraceSettings? settings = null)
    {
        Id = id;
        Router = router;
        PromptTokens = promptTokens;
        this.time = time;
        this.callEnded = callEnded;
        this.settings = settings ?? TraceSettings.Default;
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

    /// <summary>Whose fault the failure was; none unless it failed.</summary>
    public RequestFault Fault { get; private set; }

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

    /// <summary>The trace of the request whose script runs on this thread, if it wants to be told of decisions.</summary>
    internal static RequestTrace? OfScript => ScriptScope.Current?.Record is RequestTrace { settings.Entries: > 0 } trace ? trace : null;

    /// <summary>Milliseconds since the request's arrival.</summary>
    internal double ElapsedMs => time.GetElapsedTime(startStamp).TotalMilliseconds;

    /// <summary>Memory it holds, about.</summary>
    internal int SizeBytes
    {
        get
        {
            lock (gate)
            {
                return FixedBytes + (calls.Count * CallBytes) + (decisions?.SizeBytes ?? 0) + (2 * (Error?.Length ?? 0));
            }
        }
    }

    /// <summary>What the script saw, decided and said, in order, and how much more there was than is kept; a copy.</summary>
    internal (IReadOnlyList<Decision> Kept, int Dropped) Decisions
    {
        get
        {
            lock (gate)
            {
                return decisions is null ? ([], 0) : ([.. decisions.Entries], decisions.Dropped);
            }
        }
    }

    public override void Wrote(bool isWarning, string line)
    {
        if (settings.Entries > 0)
        {
            Decided(new LogLine(ElapsedMs, isWarning, Shorten(line)));
        }
    }

    internal void Decided(Decision decision)
    {
        lock (gate)
        {
            (decisions ??= new DecisionLog(settings.Entries)).Add(decision);
        }
    }

    internal SubCall Begin(string engine, string call, int? begin = null, int? end = null, CallArguments given = default)
    {
        var started = new SubCall(engine, call, begin, end, ElapsedMs) { Given = given };
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
            call.Error = Shorten(error);
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
    internal bool End(CallOutcome outcome, FinishReason? finish = null, string? error = null, RequestFault fault = RequestFault.None)
    {
        lock (gate)
        {
            if (Outcome != CallOutcome.Running)
            {
                return false;
            }

            DurationMs = ElapsedMs;
            FinishReason = finish;
            Error = Shorten(error);
            Fault = fault;
            Outcome = outcome;
            return true;
        }
    }

    /// <summary>A text from a script or an engine can be of any length.</summary>
    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(text))]
    private string? Shorten(string? text) => text?.Length > settings.LineChars ? string.Concat(text.AsSpan(0, settings.LineChars), "…") : text;
}
