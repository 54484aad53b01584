using ScriptedServe.Host.Metrics;

namespace ScriptedServe.Host.Admin;

/// <summary>Whether requests can be served, and if not, why.</summary>
/// <param name="warnings">What an operator should know although requests are served.</param>
/// <param name="checks">Each answers null if it is met, else the reason.</param>
internal sealed class Readiness(Func<IReadOnlyList<string>> warnings, params Func<string?>[] checks)
{
    public IReadOnlyList<string> Warnings() => warnings();

    public IReadOnlyList<string> Reasons() => [.. checks.Select(check => check()).OfType<string>()];
}

internal static class HealthEndpoints
{
    public static void MapHealth(this IEndpointRouteBuilder routes, Readiness readiness, HostMetrics metrics)
    {
        routes.MapGet("/health", () => AdminReply.Of(new { status = "ok" }));
        routes.MapGet("/ready", () => readiness.Reasons() is { Count: > 0 } reasons
            ? AdminReply.Of(new { status = "not ready", reasons }, StatusCodes.Status503ServiceUnavailable)
            : AdminReply.Of(new { status = "ready", warnings = readiness.Warnings() is { Count: > 0 } warnings ? warnings : null }));
        routes.MapGet("/metrics", () => Results.Text(metrics.Write(), "text/plain; version=0.0.4; charset=utf-8"));
    }
}
