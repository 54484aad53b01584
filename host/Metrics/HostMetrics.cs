using System.Text;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Metrics;

/// <summary>All that <c>/metrics</c> tells. Label values are names of routers and engines, kinds and outcomes: few.</summary>
internal sealed class HostMetrics : IRequestObserver
{
    private static readonly double[] LatencySeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
    private static readonly double[] TokenSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

    private readonly Counter requests = new("scriptedserve_requests_total", "Requests that ended, by router and outcome.", "router", "outcome");
    private readonly Counter promptTokens = new("scriptedserve_prompt_tokens_total", "Prompt tokens of ended requests.", "router");
    private readonly Counter outputTokens = new("scriptedserve_output_tokens_total", "Tokens sent to clients by ended requests.", "router");
    private readonly Histogram ttft = new("scriptedserve_ttft_seconds", "From a request's arrival to its first token.", LatencySeconds, "router");
    private readonly Histogram tpot = new("scriptedserve_tpot_seconds", "Mean time a token after the first, of requests that ended well.", TokenSeconds, "router");
    private readonly Histogram jct = new("scriptedserve_jct_seconds", "From arrival to the last token (job completion time), of requests that ended well.", LatencySeconds, "router");
    private readonly Counter calls = new("scriptedserve_subcalls_total", "Sub-calls on engines that ended, by kind and outcome.", "engine", "call", "outcome");
    private readonly Histogram callSeconds = new("scriptedserve_subcall_seconds", "How long sub-calls took; a skipped one is not counted.", LatencySeconds, "call");
    private readonly Counter kvBytes = new("scriptedserve_kv_bytes_total", "KV bytes moved between engines.", "from", "to", "transport");
    private readonly Counter events = new("scriptedserve_events_total", "Events by kind: router swaps and rollbacks, engines up and down.", "kind");
    private readonly Instrument[] all;

    public HostMetrics(EngineFleet fleet, TraceStore traces, FigureBook? figures = null)
    {
        all =
        [
            requests, promptTokens, outputTokens, ttft, tpot, jct, calls, callSeconds, kvBytes, events,
            new Gauge("scriptedserve_requests_in_flight", "Requests under way.", () => [([], traces.RunningCount)]),
            new Gauge("scriptedserve_engine_state", "1 for the state an engine is in.", () => fleet.Members.Select(member => ((string[])[member.Id, Name(member.State)], 1d)), "engine", "state"),
            OfLoad("waiting", "Sequences not yet admitted.", load => load.Waiting),
            OfLoad("running", "Sequences being computed.", load => load.Running),
            OfLoad("prefill_tokens_queued", "Prompt tokens not yet computed.", load => load.PrefillTokensQueued),
            OfLoad("kv_pages_total", "KV pages in all.", load => load.KvPagesTotal),
            new Gauge("scriptedserve_engine_kv_page_bytes", "Bytes of a KV page, all layers, by what keys and values are kept as.", () => fleet.Members.Where(member => member.LastStatus?.Layout is not null).Select(member => ((string[])[member.Id, member.LastStatus!.Layout.DataType], (double)member.LastStatus.Layout.PageBytes)), "engine", "dtype"),
            OfLoad("kv_pages_free", "KV pages free now or on demand.", load => load.KvPagesFree),
            OfLoad("kv_pages_held", "KV pages held by sequences and reservations.", load => load.KvPagesHeld),
            OfLoad("kv_pages_cached", "Free KV pages that hold prefix cache.", load => load.KvPagesCached),
            OfLoad("reservations", "Reservations held.", load => load.Reservations),
            OfLoad("step_seconds", "Mean time of recent steps.", load => load.StepUsMean / 1e6),
            OfLoad("preemptions", "Sequences preempted since the engine's start.", load => load.Preemptions),
            new Gauge("scriptedserve_engine_calls_in_flight", "This host's own calls and unused reservations.", () => fleet.Members.Select(member => ((string[])[member.Id], (double)member.Work.Calls)), "engine"),
            .. figures is null ? [] : VersionMetrics.Of(figures),
            .. ProcessGauges.All,
        ];

        Gauge OfLoad(string name, string help, Func<Wire.EngineLoad, double> value) => new(
            $"scriptedserve_engine_{name}",
            help,
            () => fleet.Members.Where(member => member.LastStatus?.Load is not null).Select(member => ((string[])[member.Id], value(member.LastStatus!.Load))),
            "engine");
    }

    public void CallEnded(SubCall call)
    {
        calls.Add(1, call.Engine, call.Call, Name(call.Outcome));
        if (call.Outcome != CallOutcome.Skipped)
        {
            callSeconds.Observe((call.DurationMs ?? 0) / 1000, call.Call);
        }

        if (call.Bytes is > 0 and var bytes)
        {
            kvBytes.Add(bytes, call.Engine, call.To ?? "", call.Transport ?? "");
        }
    }

    public void RequestEnded(string router, RequestTrace trace)
    {
        requests.Add(1, router, Name(trace.Outcome));
        promptTokens.Add(trace.PromptTokens, router);
        outputTokens.Add(trace.OutputTokens, router);
        if (trace.TtftMs is not { } first)
        {
            return;
        }

        ttft.Observe(first / 1000, router);
        if (trace.Outcome != CallOutcome.Ok || trace.DurationMs is not { } whole)
        {
            return;
        }

        jct.Observe(whole / 1000, router);
        if (trace.OutputTokens > 1)
        {
            tpot.Observe((whole - first) / 1000 / (trace.OutputTokens - 1), router);
        }
    }

    public void EventHappened(string kind) => events.Add(1, kind);

    /// <summary>The Prometheus text exposition, format 0.0.4.</summary>
    public string Write()
    {
        var text = new StringBuilder();
        foreach (var instrument in all)
        {
            instrument.Write(text);
        }

        return text.ToString();
    }

    private static string Name<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();
}
