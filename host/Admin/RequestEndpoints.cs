using ScriptedServe.Host.Requests;

namespace ScriptedServe.Host.Admin;

internal static class RequestEndpoints
{
    private const int MostListed = 500;

    public static void MapRequestAdmin(this IEndpointRouteBuilder routes, TraceStore traces)
    {
        routes.MapGet("/admin/requests", (HttpRequest request) =>
        {
            var (limit, refusal) = AdminReply.ReadNumber(request, "limit", least: 1);
            return refusal ?? AdminReply.Of(List(traces, (int)Math.Min(limit ?? 50, MostListed)));
        });

        routes.MapGet("/admin/requests/{id}", (string id) => traces.Find(id) is { Count: > 0 } choices
            ? AdminReply.Of(View(choices))
            : AdminReply.Error(StatusCodes.Status404NotFound, "no_such_request", $"Request '{id}' is not known: it never was, or it ended too long ago (the last {traces.Capacity} are kept)."));
    }

    private static object List(TraceStore traces, int limit) => new
    {
        requests = traces.Recent(limit).Select(trace => new
        {
            trace.Id,
            trace.Router,
            trace.Started,
            trace.PromptTokens,
            trace.OutputTokens,
            trace.TtftMs,
            trace.DurationMs,
            trace.FinishReason,
            trace.Outcome,
            trace.Error,
            Calls = trace.Calls.Count,
        }),
    };

    /// <summary>The first choice's fields, as with n = 1, and the further choices of a request with n > 1.</summary>
    private static object View(IReadOnlyList<RequestTrace> choices)
    {
        var first = choices[0];
        return new
        {
            first.Id,
            first.Router,
            first.Started,
            first.PromptTokens,
            first.OutputTokens,
            first.TtftMs,
            first.DurationMs,
            first.FinishReason,
            first.Outcome,
            first.Error,
            first.Calls,
            Choices = choices.Count > 1 ? choices.Skip(1) : null,
        };
    }
}
