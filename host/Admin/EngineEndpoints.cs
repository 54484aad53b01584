using System.Text.RegularExpressions;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Engines.Supervision;

namespace ScriptedServe.Host.Admin;

/// <summary>Body of <c>POST /admin/engines</c>.</summary>
/// <param name="Url"><c>http://host:port</c> or <c>unix:path</c>.</param>
/// <param name="Id">Null: taken from the address.</param>
internal sealed record AttachBody(string? Url, string? Id, string[]? Labels);

/// <summary>Body of <c>POST /admin/engines/{id}/labels</c>: the new labels, in place of all before.</summary>
internal sealed record LabelsBody(string[]? Labels);

internal static partial class EngineEndpoints
{
    private const int MostLabels = 32;

    public static void MapEngineAdmin(this IEndpointRouteBuilder routes, EngineFleet fleet, LocalEngines? local)
    {
        var engines = routes.MapGroup("/admin/engines");
        engines.MapGet("", () => AdminReply.Of(new { engines = fleet.Members.Select(EngineView.Of) }));
        engines.MapPost("", (HttpRequest request) => Guarded(async () =>
        {
            var (body, refusal) = await AdminReply.ReadAsync<AttachBody>(request, """{"url":"http://host:port","labels":["decode"]}""");
            if (body is null)
            {
                return refusal!;
            }

            if (string.IsNullOrWhiteSpace(body.Url))
            {
                return AdminReply.Error(StatusCodes.Status400BadRequest, "bad_body", "'url' is missing: the engine's address, http://host:port or unix:path.");
            }

            if (WhyNotLabels(body.Labels) is { } wrong)
            {
                return wrong;
            }

            if (body.Id is { } id && !Word().IsMatch(id))
            {
                return AdminReply.Error(StatusCodes.Status400BadRequest, "bad_body", $"'{id}' is no engine id: 1 to 64 letters, digits, '.', '_', ':' or '-'.");
            }

            var member = await fleet.AttachAsync(body.Url, body.Id, body.Labels ?? [], mustAnswer: true, request.HttpContext.RequestAborted);
            return AdminReply.Of(EngineView.Of(member), StatusCodes.Status201Created);
        }));
        engines.MapDelete("/{id}", (string id) => Guarded(async () =>
        {
            await (local?.Contains(id) == true ? local.RemoveAsync(id) : fleet.DetachAsync(id));
            return Results.NoContent();
        }));
        engines.MapPost("/{id}/labels", (string id, HttpRequest request) => Guarded(async () =>
        {
            var (body, refusal) = await AdminReply.ReadAsync<LabelsBody>(request, """{"labels":["prefill"]}""");
            if (body is null)
            {
                return refusal!;
            }

            if (body.Labels is null)
            {
                return AdminReply.Error(StatusCodes.Status400BadRequest, "bad_body", "'labels' is missing: the new labels, in place of all before.");
            }

            if (WhyNotLabels(body.Labels) is { } wrong)
            {
                return wrong;
            }

            fleet.SetLabels(id, body.Labels);
            return AdminReply.Of(EngineView.Of(fleet.Find(id)));
        }));
        engines.MapPost("/{id}/drain", (string id) => Guarded(() =>
        {
            fleet.Drain(id);
            return Task.FromResult(AdminReply.Of(EngineView.Of(fleet.Find(id)), StatusCodes.Status202Accepted));
        }));
        engines.MapPost("/{id}/restart", (string id) => Guarded(() =>
        {
            var member = fleet.Find(id);
            if (local?.Contains(id) != true)
            {
                throw new FleetException(FleetProblem.NotPossible, $"Engine '{id}' was not started by this host; restart it where it runs.");
            }

            local.Restart(id);
            return Task.FromResult(AdminReply.Of(EngineView.Of(member), StatusCodes.Status202Accepted));
        }));
    }

    private static IResult? WhyNotLabels(string[]? labels) =>
        labels is null || (labels.Length <= MostLabels && labels.All(label => label is not null && Word().IsMatch(label)))
            ? null
            : AdminReply.Error(StatusCodes.Status400BadRequest, "bad_label", $"Labels are at most {MostLabels} words of 1 to 64 letters, digits, '.', '_', ':' or '-'.");

    private static async Task<IResult> Guarded(Func<Task<IResult>> action)
    {
        try
        {
            return await action();
        }
        catch (FleetException e)
        {
            var (status, code) = e.Problem switch
            {
                FleetProblem.NoSuchEngine => (StatusCodes.Status404NotFound, "no_such_engine"),
                FleetProblem.AlreadyThere => (StatusCodes.Status409Conflict, "engine_exists"),
                FleetProblem.Mismatch => (StatusCodes.Status409Conflict, "model_mismatch"),
                FleetProblem.Unreachable => (StatusCodes.Status502BadGateway, "engine_unreachable"),
                FleetProblem.BadAddress => (StatusCodes.Status400BadRequest, "bad_address"),
                _ => (StatusCodes.Status409Conflict, "not_possible"),
            };
            return AdminReply.Error(status, code, e.Message);
        }
    }

    [GeneratedRegex(@"\A[A-Za-z0-9._:-]{1,64}\z")]
    private static partial Regex Word();
}
