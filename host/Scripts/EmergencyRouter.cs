using ScriptedServe.Host.Admin;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// What serves when no script can: each request on the least loaded engine. It is part of the host and needs no compiler.
/// </summary>
/// <param name="fleet">As a script sees it.</param>
internal sealed class EmergencyRouter(Func<RouterFleet> fleet, IHostEvents events, ILogger log)
{
    public const string Name = "emergency";
    public const string Spec = "emergency@0";

    private volatile string? _why;

    /// <summary>Why it serves; null if it does not.</summary>
    public string? Why => _why;

    /// <summary>It begins to serve, goes on, or ends.</summary>
    /// <param name="why">Null if scripts can serve.</param>
    public void Set(string? why)
    {
        var before = _why;
        _why = why;
        if (why is not null && before is null)
        {
            log.LogError("{Reason}: the built-in emergency router serves instead, each request on the least loaded engine", why);
            events.Publish("router.emergency", Spec, $"The emergency router serves: {why}");
        }
        else if (why is null && before is not null)
        {
            log.LogInformation("The emergency router is no longer needed");
            events.Publish("router.emergency_over", Spec, "The emergency router is no longer needed");
        }
    }

    public IRouterLease Pin() => new Lease(fleet());

    private sealed class Lease(RouterFleet fleet) : IRouterLease
    {
        public string Name => EmergencyRouter.Name;

        public int Version => 0;

        public IAsyncEnumerable<Chunk> HandleRequest(Request request, ScriptRecord? record = null) => fleet.LeastLoaded().StartGenerate(request);

        public void Dispose()
        {
        }
    }
}
