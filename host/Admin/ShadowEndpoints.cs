using System.Globalization;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Shadowing;

namespace ScriptedServe.Host.Admin;

/// <summary><c>/admin/routers/{name}/shadow</c>: a version that replays a sample of the requests, and how its decisions compare.</summary>
internal static class ShadowEndpoints
{
    private const double DefaultSample = 10;

    public static void MapShadowAdmin(this IEndpointRouteBuilder routes, ShadowRouters shadows)
    {
        routes.MapGet("/admin/routers/{name}/shadow", (string name) => shadows.View(name) is { } view ? AdminReply.Of(view) : None(name));
        routes.MapDelete("/admin/routers/{name}/shadow", async (string name, HttpContext context) =>
            await shadows.StopAsync(name, context.RequestAborted) is { } last ? AdminReply.Of(last) : None(name));
        routes.MapPost("/admin/routers/{name}/shadow", async (string name, HttpRequest request) =>
        {
            var (version, refusal) = AdminReply.ReadNumber(request, "version", least: 1);
            if (refusal is not null || version is null or > int.MaxValue)
            {
                return refusal ?? AdminReply.Error(StatusCodes.Status400BadRequest, "invalid_version", "Say which version is to shadow: ?version=3.");
            }

            if (!TrySample(request, out var sample))
            {
                return AdminReply.Error(StatusCodes.Status400BadRequest, "invalid_sample", $"sample is \"{request.Query["sample"]}\"; it must be a percentage above 0, at most 100.");
            }

            try
            {
                return AdminReply.Of(await shadows.StartAsync(name, (int)version, sample, request.HttpContext.RequestAborted), StatusCodes.Status201Created);
            }
            catch (RouterRefusedException e)
            {
                return RoutersEndpoints.Refused(e);
            }
        });
    }

    private static bool TrySample(HttpRequest request, out double sample)
    {
        sample = DefaultSample;
        return !request.Query.TryGetValue("sample", out var text)
            || (double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out sample) && sample is > 0 and <= 100);
    }

    private static IResult None(string name) => AdminReply.Error(StatusCodes.Status404NotFound, "no_shadow", $"No version shadows router {name}.");
}
