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
            ? AdminReply.Of(RequestView.Of(choices))
            : AdminReply.Error(StatusCodes.Status404NotFound, "no_such_request", $"Request '{id}' is not known: it never was, or it ended too long ago (the last {traces.Settings.Requests} are kept, in at most {traces.Settings.Bytes >> 20} MiB; settings trace-requests, trace-mib)."));
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
            Fault = trace.Fault == RequestFault.None ? (RequestFault?)null : trace.Fault,
            trace.Error,
            Calls = trace.Calls.Count,
        }),
    };
}
