using System.Collections.Immutable;

namespace ScriptedServe.Host.Scripts.Store;

/// <summary>A share of a name's requests that another version than the active one serves.</summary>
/// <param name="Share">Percent, above 0 and below 100.</param>
/// <param name="Header">The request header whose value decides; null for the request's id.</param>
public sealed record RouterCanary(int Version, double Share, string? Header);

/// <summary>What is in force for one name.</summary>
/// <param name="Known">Versions that can serve: added and not deleted.</param>
/// <param name="Past">What was active before, the last one last; a rollback takes them from the end.</param>
/// <param name="Options">Given at activations, by version.</param>
public sealed record RouterRoute(
    int? Active,
    RouterCanary? Canary,
    ImmutableSortedSet<int> Known,
    ImmutableList<int> Past,
    ImmutableSortedDictionary<string, int> Labels,
    ImmutableSortedDictionary<int, IReadOnlyDictionary<string, string>> Options)
{
    private const int MostPast = 50;

    public static RouterRoute Empty { get; } = new(
        null, null, [], [], ImmutableSortedDictionary<string, int>.Empty.WithComparers(StringComparer.Ordinal), ImmutableSortedDictionary<int, IReadOnlyDictionary<string, string>>.Empty);

    /// <summary>Versions that have to be loaded for it.</summary>
    public IEnumerable<int> Wanted => new[] { Active, Canary?.Version }.OfType<int>().Concat(Labels.Values).Distinct();

    /// <summary>Why a version cannot be forgotten; null if it can.</summary>
    public string? UseOf(int version) =>
        version == Active ? "it is the active version; activate another one first"
        : version == Canary?.Version ? $"it is the canary, with {Canary.Share:0.##}% of the requests; roll it back first"
        : Labels.FirstOrDefault(label => label.Value == version).Key is { } label ? $"the label {label} names it; remove or move the label first"
        : null;

    /// <returns>Null if the change cannot be made here.</returns>
    public RouterRoute? Apply(RouterChange change)
    {
        var version = change.Version ?? 0;
        return change.Kind switch
        {
            RouterChangeKind.Added => this with { Known = Known.Add(version) },
            RouterChangeKind.Rejected => this,
            RouterChangeKind.Activated when Known.Contains(version) => WithOptions(version, change.Options) with
            {
                Active = version,
                Canary = null,
                Past = Active is { } before && before != version ? Trim(Past.Remove(version).Remove(before).Add(before)) : Past.Remove(version),
            },
            RouterChangeKind.Canary when Known.Contains(version) && Active is not null && version != Active && change.Share is > 0 and < 100 =>
                WithOptions(version, change.Options) with { Canary = new RouterCanary(version, change.Share.Value, change.Header) },
            RouterChangeKind.RolledBack when change.From is { } from && from == Canary?.Version => this with { Canary = null },
            RouterChangeKind.RolledBack when change.From is { } from && from == Active && Known.Contains(version) =>
                this with { Active = version, Canary = null, Past = Past.Remove(version).Remove(from) },
            RouterChangeKind.Labelled when Known.Contains(version) => this with { Labels = Labels.SetItem(change.Label!, version) },
            RouterChangeKind.Unlabelled when Labels.ContainsKey(change.Label!) => this with { Labels = Labels.Remove(change.Label!) },
            RouterChangeKind.Deleted when change.Version is null && Labels.IsEmpty => this with { Active = null, Canary = null, Past = [] },
            RouterChangeKind.Deleted when change.Version is not null && UseOf(version) is null =>
                this with { Known = Known.Remove(version), Past = Past.Remove(version), Options = Options.Remove(version) },
            _ => null,
        };
    }

    private RouterRoute WithOptions(int version, IReadOnlyDictionary<string, string>? given) =>
        given is null ? this : this with { Options = Options.SetItem(version, given) };

    private static ImmutableList<int> Trim(ImmutableList<int> past) => past.Count > MostPast ? past.RemoveAt(0) : past;
}

/// <summary>
/// What is in force for all names: the log, applied in order. Total and pure, so that every host that has read the same log has the same table.
/// A change that makes no sense where it stands in the log changes nothing.
/// </summary>
/// <param name="Sequence">Of the last entry applied.</param>
public sealed record RoutingTable(long Sequence, ImmutableSortedDictionary<string, RouterRoute> Routes)
{
    public static RoutingTable Empty { get; } = new(0, ImmutableSortedDictionary<string, RouterRoute>.Empty.WithComparers(StringComparer.Ordinal));

    public RouterRoute this[string router] => Routes.GetValueOrDefault(router, RouterRoute.Empty);

    public RoutingTable Apply(LoggedChange entry) =>
        entry.Sequence <= Sequence
            ? throw new ArgumentException($"entry {entry.Sequence} comes after {Sequence}", nameof(entry))
            : new(entry.Sequence, this[entry.Change.Router].Apply(entry.Change) is { } route ? Routes.SetItem(entry.Change.Router, route) : Routes);

    public RoutingTable Apply(IEnumerable<LoggedChange> entries) => entries.Aggregate(this, static (table, entry) => table.Apply(entry));
}
