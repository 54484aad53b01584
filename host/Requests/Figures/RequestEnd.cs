namespace ScriptedServe.Host.Requests.Figures;

/// <summary>How one request ended, as figures count it. Times are seconds, null where they say nothing.</summary>
/// <param name="TtftSeconds">From arrival to the first token.</param>
/// <param name="TpotSeconds">Mean time a token after the first, of a request that ended well.</param>
/// <param name="JctSeconds">From arrival to the end, of a request that ended well.</param>
internal readonly record struct RequestEnd(CallOutcome Outcome, RequestFault Fault, double? TtftSeconds, double? TpotSeconds, double? JctSeconds)
{
    public static RequestEnd Of(RequestTrace trace)
    {
        var ttft = trace.TtftMs / 1000;
        var jct = trace.Outcome == CallOutcome.Ok ? trace.DurationMs / 1000 : null;
        return new RequestEnd(trace.Outcome, trace.Fault, ttft, trace.OutputTokens > 1 ? (jct - ttft) / (trace.OutputTokens - 1) : null, jct);
    }
}
