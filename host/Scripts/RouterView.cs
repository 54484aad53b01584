using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>Describes routers and versions as they stand.</summary>
internal sealed class RouterView(RoutersInForce routers, VersionRetirement retirement, string defaultRouter)
{
    private static readonly IReadOnlyDictionary<string, string> NoOptions = new Dictionary<string, string>();

    public IReadOnlyList<RouterInfo> List_NeedsLock() =>
        [.. routers.Slots.Where(slot => slot.HasVersions).OrderBy(slot => slot.Name, StringComparer.Ordinal).Select(slot => new RouterInfo(
            slot.Name, slot.Active?.Number, slot.Name == defaultRouter, slot.Route.Canary, slot.Route.Labels,
            [.. slot.Stored.Keys.Reverse().Select(number => Describe_NeedsLock(slot, number))]) { CameByRollback = slot.Cause?.Kind == RouterChangeKind.RolledBack })];

    public RouterVersionInfo Describe_NeedsLock(RouterSlot slot, int number)
    {
        var live = Instances(slot, number).FirstOrDefault();
        var stored = slot.Stored.GetValueOrDefault(number);
        var counts = slot.CountsOf(number);
        var all = routers.Slots.Sum(other => other.TotalRequests);
        return new RouterVersionInfo(
            slot.Name, number,
            live?.Phase ?? (stored?.Outcome == VersionOutcome.Rejected || slot.Broken.ContainsKey(number) ? RouterPhase.Rejected : RouterPhase.Unloaded),
            stored?.Hash ?? "", stored?.Origin.Author ?? "", stored?.Origin.Message ?? "", stored?.Time ?? default,
            Leases(slot, number), counts.Requests, counts.Errors, counts.PlanErrors,
            all == 0 ? 0 : (double)counts.Requests / all,
            Traffic(slot, number),
            [.. slot.Route.Labels.Where(label => label.Value == number).Select(label => label.Key)],
            live?.Options?.Values ?? slot.Route.Options.GetValueOrDefault(number) ?? NoOptions)
        { PlansSkipped = counts.PlansSkipped };
    }

    /// <summary>Of the load on this host if that failed, else of the one where it was given.</summary>
    public static IReadOnlyList<RouterDiagnostic> Diagnostics_NeedsLock(RouterSlot slot, int number) =>
        slot.Broken.GetValueOrDefault(number) ?? slot.Stored.GetValueOrDefault(number)?.Diagnostics ?? [];

    /// <summary>Requests on a version, those on an earlier load of it that still drains included.</summary>
    public long Leases(RouterSlot slot, int number) => Instances(slot, number).Sum(version => version.Leases);

    public IEnumerable<string> Warnings_NeedsLock() => routers.Slots
        .Where(slot => slot.Route.Active is { } wanted && slot.Active is { } active && active.Number != wanted && slot.Broken.ContainsKey(wanted))
        .OrderBy(slot => slot.Name, StringComparer.Ordinal)
        .Select(slot => $"{slot.Name}@{slot.Route.Active} does not load any more; {slot.Active!.Label} serves");

    private IEnumerable<RouterVersion> Instances(RouterSlot slot, int number) =>
        new[] { slot.Serving.Usable.GetValueOrDefault(number) }.OfType<RouterVersion>()
            .Concat(retirement.Draining.Where(version => version.Name == slot.Name && version.Number == number));

    private static double Traffic(RouterSlot slot, int number) =>
        slot.Serving.Canary is var (canary, rule) && canary.Number == number ? rule.Share
        : slot.Active?.Number == number ? 100 - (slot.Serving.Canary?.Rule.Share ?? 0)
        : 0;
}
