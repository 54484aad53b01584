using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Requests;

/// <summary>How requests run.</summary>
public sealed record RequestSettings
{
    /// <summary>For a whole request, where the client sets no deadline. <c>--request-timeout</c>, default 10 min.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Calls on engines that one request may make; see <see cref="ScriptLimits.SubCalls"/>.</summary>
    public int SubCalls { get; init; } = 64;

    /// <summary>How long the end of a request waits for a script that does not observe its cancellation; it is left to itself then.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>Runs requests through routers: pins, watches over the script's stream, and leaves nothing behind.</summary>
internal sealed class RequestRunner(
    IRouterCatalog routers,
    EngineFleet fleet,
    TrafficStats traffic,
    TraceStore traces,
    IRequestObserver observer,
    RequestSettings settings,
    TimeProvider time,
    CancellationToken hostStopping,
    IRequestRecorder? recorder = null) : IRequestRunner
{
    public RequestSettings Settings { get; } = settings;

    public TimeProvider Time { get; } = time;

    public EngineFleet Fleet { get; } = fleet;

    public CancellationToken HostStopping { get; } = hostStopping;

    public IRequestRecorder? Recorder { get; } = recorder;

    public RunningRequest Start(RequestSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var lease = routers.Acquire(spec.Router, spec.Id, spec.Headers);
        var trace = new RequestTrace(spec.Id, $"{lease.Name}@{lease.Version}", spec.PromptTokens.Length, Time, observer.CallEnded, traces.Settings);
        traces.Add(trace);
        traffic.Arrived(spec.PromptTokens.Length);
        return new RoutedRequest(this, spec, lease, trace);
    }

    /// <summary>Called once a request, when its trace is settled.</summary>
    internal void Ended(string router, RequestTrace trace)
    {
        traces.Ended(trace);
        traffic.Left(trace.OutputTokens, trace.TtftMs / 1000, (trace.DurationMs ?? 0) / 1000, trace.Outcome == CallOutcome.Ok);
        observer.RequestEnded(router, trace);
    }
}
