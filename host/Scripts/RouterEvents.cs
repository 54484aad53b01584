using System.Globalization;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>An event about a router, in words.</summary>
internal sealed record RouterEvent(string Kind, string Subject, string Text, bool IsWarning = false);

/// <summary>What changes of routers are called in events and in the log.</summary>
internal static class RouterEvents
{
    /// <summary>A version has begun to serve its name.</summary>
    public static RouterEvent Serves(RouterSlot slot, RouterVersion active, RouterVersion? before)
    {
        var isAsked = active.Number == slot.Route.Active;
        var (kind, text) = (before, slot.Cause?.Kind) switch
        {
            (not null, RouterChangeKind.RolledBack) when isAsked => ("router.rolled_back", $"{active.Label} serves again in place of {before.Label}"),
            (null, _) => ("router.activated", $"{active.Label} serves"),
            _ => ("router.activated", $"{active.Label} serves in place of {before.Label}"),
        };
        return new RouterEvent(kind, active.Label, text + (isAsked ? Because(slot.Cause) : $", because {slot.Name}@{slot.Route.Active} does not load"));
    }

    /// <summary>A change that is in force without a version taking another's place.</summary>
    public static RouterEvent Of(string name, RouterChange change)
    {
        var version = $"{name}@{change.Version}";
        return change.Kind switch
        {
            RouterChangeKind.Canary => new("router.canary", version, string.Create(
                CultureInfo.InvariantCulture, $"{version} takes {change.Share:0.##}% of the requests of {name}{(change.Header is { } header ? $", by {header}" : "")}{Because(change)}")),
            RouterChangeKind.Labelled => new("router.labelled", version, $"{version} is labelled {change.Label}{Because(change)}"),
            RouterChangeKind.Unlabelled => new("router.unlabelled", name, $"{name} has no label {change.Label} any more{Because(change)}"),
            RouterChangeKind.Deleted when change.Version is null => new("router.deleted", name, $"{name} serves no more{Because(change)}"),
            _ => new("router.deleted", version, $"{version} was deleted{Because(change)}"),
        };
    }

    /// <summary>The version that was active serves all requests again.</summary>
    public static RouterEvent CanaryEnded(string name, int canary, RouterChange change) => new(
        change.Kind == RouterChangeKind.RolledBack ? "router.rolled_back" : "router.activated",
        $"{name}@{canary}",
        $"{name}@{canary} is no canary any more; {name}@{change.Version} serves all requests{Because(change)}");

    private static string Because(RouterChange? change) => change is { Reason.Length: > 0 } ? $": {change.Reason}" : "";
}
