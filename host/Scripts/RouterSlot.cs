using System.Collections.Concurrent;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>A router name on this host: what the log says of it, and what is loaded. Changed under the catalog's lock only.</summary>
/// <remarks>Requests read <see cref="Serving"/>, and count, without a lock.</remarks>
internal sealed class RouterSlot(string name)
{
    private readonly ConcurrentDictionary<int, VersionCounts> _counts = [];
    private volatile ServingSet _serving = ServingSet.Empty;

    public string Name { get; } = name;

    /// <summary>Held while a text of this name is compiled and loaded, so that versions come up in the order they were given.</summary>
    public SemaphoreSlim Turn { get; } = new(1, 1);

    /// <summary>What is in force.</summary>
    public RouterRoute Route { get; set; } = RouterRoute.Empty;

    /// <summary>The change that made <see cref="Route"/> what it is.</summary>
    public RouterChange? Cause { get; set; }

    /// <summary>What the store has of this name, as last read.</summary>
    public SortedDictionary<int, StoredVersion> Stored { get; private set; } = [];

    /// <summary>The store has more than <see cref="Stored"/>.</summary>
    public bool IsStale { get; set; }

    /// <summary>Versions that were once accepted and do not load on this host now, and why.</summary>
    public Dictionary<int, IReadOnlyList<RouterDiagnostic>> Broken { get; } = [];

    /// <summary>Loaded versions that no commit has made known yet.</summary>
    public Dictionary<int, RouterVersion> Prepared { get; } = [];

    /// <summary>Call PlanStrategy of the versions that serve the name.</summary>
    public Dictionary<RouterVersion, PlanDriver> Plans { get; } = [];

    public ServingSet Serving
    {
        get => _serving;
        set => _serving = value;
    }

    public RouterVersion? Active => _serving.Active;

    public IReadOnlyCollection<RouterVersion> Usable => [.. _serving.Usable.Values.OrderBy(version => version.Number)];

    public bool HasVersions => Stored.Count > 0 || !_serving.Usable.IsEmpty;

    /// <summary>The version that should serve here: the active one, or the last good one before it where that does not load.</summary>
    public int? ShouldServe => Route.Active is { } active
        ? Route.Past.Add(active).Reverse().Where(number => !Broken.ContainsKey(number)).Select(number => (int?)number).FirstOrDefault()
        : null;

    /// <summary>What a rollback would let serve.</summary>
    public int? RollbackTarget => Route.Past.Reverse().Where(number => Route.Known.Contains(number) && !Broken.ContainsKey(number)).Select(number => (int?)number).FirstOrDefault();

    /// <summary>Versions to load.</summary>
    public IEnumerable<int> Missing =>
        new[] { ShouldServe }.OfType<int>().Concat(Route.Wanted).Distinct().Where(number => !Broken.ContainsKey(number) && !_serving.Usable.ContainsKey(number));

    public VersionCounts CountsOf(int number) => _counts.GetOrAdd(number, static _ => new VersionCounts());

    public long TotalRequests => _counts.Values.Sum(counts => counts.Requests);

    public void Take(IEnumerable<StoredVersion> stored)
    {
        Stored = new(stored.ToDictionary(version => version.Number));
        IsStale = false;
    }

    /// <summary>Loaded versions that serve nothing, beyond those to keep: the rollback target is kept first, then the newest.</summary>
    public IReadOnlyList<RouterVersion> Surplus(int kept)
    {
        var wanted = Route.Wanted.ToHashSet();
        var target = RollbackTarget;
        return [.. _serving.Usable.Values
            .Where(version => version.Phase == RouterPhase.Loaded && !wanted.Contains(version.Number))
            .OrderByDescending(version => version.Number == target)
            .ThenByDescending(version => version.Number)
            .Skip(kept)];
    }

    /// <summary>Versions nobody uses, beyond the number to remember: the oldest.</summary>
    public IReadOnlyList<int> Forgettable(RouterRoute route, int history) =>
        [.. Stored.Keys.Where(number => route.UseOf(number) is null && !_serving.Usable.ContainsKey(number) && number != RollbackTarget).Reverse().Skip(history)];
}
