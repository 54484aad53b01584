using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Admin;

/// <summary>A request as <c>/admin/requests/{id}</c> shows it. Times are milliseconds from its arrival.</summary>
internal sealed record RequestView
{
    public required string Id { get; init; }

    public required string Router { get; init; }

    public required DateTimeOffset Started { get; init; }

    public required int PromptTokens { get; init; }

    public required int OutputTokens { get; init; }

    public double? TtftMs { get; init; }

    public double? DurationMs { get; init; }

    public FinishReason? FinishReason { get; init; }

    public required CallOutcome Outcome { get; init; }

    /// <summary>Only of a request that failed.</summary>
    public RequestFault? Fault { get; init; }

    public string? Error { get; init; }

    public required ScriptUse Script { get; init; }

    /// <summary>What the script saw, decided and said, in order.</summary>
    public required IEnumerable<DecisionView> Decisions { get; init; }

    public required IReadOnlyList<SubCall> Calls { get; init; }

    /// <summary>The further choices of a request with n > 1.</summary>
    public IEnumerable<RequestView>? Choices { get; init; }

    /// <param name="choices">At least one; the first one's fields are the request's, as with n = 1.</param>
    public static RequestView Of(IReadOnlyList<RequestTrace> choices) =>
        Of(choices[0]) with { Choices = choices.Count > 1 ? choices.Skip(1).Select(Of) : null };

    private static RequestView Of(RequestTrace trace)
    {
        var (decisions, dropped) = trace.Decisions;
        return new RequestView
        {
            Id = trace.Id,
            Router = trace.Router,
            Started = trace.Started,
            PromptTokens = trace.PromptTokens,
            OutputTokens = trace.OutputTokens,
            TtftMs = trace.TtftMs,
            DurationMs = trace.DurationMs,
            FinishReason = trace.FinishReason,
            Outcome = trace.Outcome,
            Fault = trace.Fault == RequestFault.None ? null : trace.Fault,
            Error = trace.Error,
            Script = new ScriptUse(trace.ThreadTime.TotalMilliseconds, trace.AllocatedBytes, dropped),
            Decisions = decisions.Select(DecisionView.From),
            Calls = trace.Calls,
        };
    }
}

/// <summary>What the script itself used.</summary>
/// <param name="ThreadMs">Time it had a thread.</param>
/// <param name="AllocatedBytes">Allocated meanwhile.</param>
/// <param name="DecisionsDropped">Decisions and log lines past the most that are kept (setting trace-entries).</param>
internal sealed record ScriptUse(double ThreadMs, long AllocatedBytes, int DecisionsDropped);

/// <summary>One decision. Fields that its kind does not have are left out.</summary>
/// <param name="Kind">least_loaded, round_robin, longest_prefix, find, load, cached_tokens or log.</param>
/// <param name="Of">The set that was chosen from, or the id that was asked for.</param>
/// <param name="Chose">The engine; left out where there was none.</param>
/// <param name="Among">Engines in the set; more than there are candidates, of a large set.</param>
internal sealed record DecisionView(
    double AtMs, string Kind, string? Of = null, string? Chose = null, int? Among = null, IEnumerable<CandidateView>? Candidates = null,
    string? Engine = null, EngineLoad? Load = null, int? CachedTokens = null, string? Level = null, string? Text = null)
{
    public static DecisionView From(Decision decision) => decision switch
    {
        Choice choice => new(
            choice.AtMs, AdminReply.Json.PropertyNamingPolicy!.ConvertName(choice.Kind.ToString()), choice.Set, choice.Chosen,
            choice.Kind == ChoiceKind.Find ? null : choice.Count,
            choice.Kind == ChoiceKind.Find ? null : choice.Candidates.ToArray().Select(CandidateView.From)),
        LoadRead read => new(read.AtMs, "load", Engine: read.Engine, Load: read.Load),
        CachedRead read => new(read.AtMs, "cached_tokens", Engine: read.Engine, CachedTokens: read.CachedTokens),
        LogLine line => new(line.AtMs, "log", Level: line.IsWarning ? "warn" : "info", Text: line.Text),
        _ => throw new InvalidOperationException($"No words for {decision.GetType().Name}"),
    };
}

/// <summary>What was seen of an engine; what the choice did not ask is left out.</summary>
internal sealed record CandidateView(string Engine, long? PrefillTokens, int? Sequences, int? CachedTokens)
{
    public static CandidateView From(Candidate seen) => new(
        seen.Engine, seen.PrefillTokens < 0 ? null : seen.PrefillTokens, seen.Sequences < 0 ? null : seen.Sequences, seen.CachedTokens < 0 ? null : seen.CachedTokens);
}
