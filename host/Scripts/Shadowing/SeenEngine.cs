using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>An engine as it stood when a request came.</summary>
/// <param name="Cached">Leading tokens of the request believed cached there.</param>
internal sealed record SeenEngine(string Id, string Model, IReadOnlySet<string> Labels, EngineLoad Load, WorkAhead Ahead, int Cached)
{
    /// <summary>The engines that could be called, in the order of their ids.</summary>
    /// <param name="request">Null outside a request.</param>
    public static IReadOnlyList<SeenEngine> All(RouterFleet fleet, HostRequest? request) =>
        [.. fleet.OfType<HostEngine>().Select(engine => new SeenEngine(
            engine.Id, engine.Model, engine.Labels, engine.Load, engine.Member.Work.Ahead, request is null ? 0 : engine.CachedPrefix(request)))];
}
