using System.Globalization;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;

namespace ScriptedServe.Host.Admin;

internal static class EventEndpoints
{
    /// <summary><c>GET /admin/events</c>: what happens, as server-sent events; after a reconnect (Last-Event-ID) or with <c>?after=</c>, also what was missed.</summary>
    public static void MapEventAdmin(this IEndpointRouteBuilder routes, HostEvents events, CancellationToken stopping) =>
        routes.MapGet("/admin/events", IResult (HttpRequest request) =>
        {
            var (after, refusal) = AdminReply.ReadNumber(request, "after", least: 0);
            if (refusal is not null)
            {
                return refusal;
            }

            var last = long.TryParse(request.Headers["Last-Event-ID"], CultureInfo.InvariantCulture, out var seen) ? seen : after;
            return TypedResults.ServerSentEvents(Listen(events, last, request.HttpContext.RequestAborted, stopping));
        });

    private static async IAsyncEnumerable<SseItem<HostEvent>> Listen(
        HostEvents events, long? after, CancellationToken client, CancellationToken stopping, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(client, stopping, cancellationToken);
        await using var happened = events.Listen(after, either.Token).GetAsyncEnumerator(either.Token);
        while (await NextAsync())
        {
            yield return new SseItem<HostEvent>(happened.Current, happened.Current.Kind) { EventId = happened.Current.Id.ToString(CultureInfo.InvariantCulture) };
        }

        async ValueTask<bool> NextAsync()
        {
            try
            {
                return await happened.MoveNextAsync();
            }
            catch (OperationCanceledException)
            {
                // The listener left, or the host stops: the stream just ends.
                return false;
            }
        }
    }
}
