using System.Collections.Immutable;

namespace ScriptedServe.Host.Scripts;

/// <summary>A router name: its versions, which of them serves, and which served before. Changed under the catalog's lock only.</summary>
/// <remarks>Requests read <see cref="Active"/> and <see cref="Usable"/> without a lock: each change is one reference write.</remarks>
internal sealed class RouterSlot(string name)
{
    private readonly List<RouterVersion> _known = [];
    private readonly List<RouterVersion> _activations = [];
    private volatile RouterVersion? _active;
    private volatile ImmutableDictionary<int, RouterVersion> _usable = ImmutableDictionary<int, RouterVersion>.Empty;

    public string Name { get; } = name;

    /// <summary>Held while a text of this name is compiled and loaded, so that versions come up in the order they were given.</summary>
    public SemaphoreSlim Turn { get; } = new(1, 1);

    /// <summary>Calls PlanStrategy of the active version, if it has one.</summary>
    public PlanDriver? Plan { get; set; }

    public RouterVersion? Active => _active;

    /// <summary>Loaded and active versions by number.</summary>
    public ImmutableDictionary<int, RouterVersion> Usable => _usable;

    /// <summary>All that is remembered, oldest first.</summary>
    public IReadOnlyList<RouterVersion> Known => _known;

    public int LastNumber { get; private set; }

    /// <summary>The version a rollback would activate: the last one active before the present one that is still loaded.</summary>
    public RouterVersion? RollbackTarget => _activations.LastOrDefault(version => version != _active && version.Phase == RouterPhase.Loaded);

    public RouterVersion? FindUsable(string hash) => _usable.Values.FirstOrDefault(version => version.Source.Hash == hash);

    /// <summary>The number for a text: a new one, unless the last text was the same and was rejected.</summary>
    public int NumberFor(string hash) =>
        _known is [.., { Phase: RouterPhase.Rejected } last] && last.Source.Hash == hash ? last.Number : LastNumber + 1;

    public void Remember(RouterVersion version, int history)
    {
        _known.RemoveAll(known => known.Number == version.Number);
        _known.Add(version);
        LastNumber = Math.Max(LastNumber, version.Number);
        if (version.Phase == RouterPhase.Loaded)
        {
            _usable = _usable.Add(version.Number, version);
        }

        var past = _known.Where(known => known.Phase is RouterPhase.Rejected or RouterPhase.Unloaded).ToList();
        foreach (var forgotten in past.Take(past.Count - history))
        {
            _known.Remove(forgotten);
        }
    }

    public void Forget(RouterVersion version) => _known.Remove(version);

    /// <summary>Makes a loaded version the active one.</summary>
    public void Activate(RouterVersion version)
    {
        version.Step(RouterStep.Activate);
        _active?.Step(RouterStep.Supersede);
        _activations.Remove(version);
        _activations.Add(version);
        _active = version;
    }

    /// <summary>Makes the rollback target active; the version that was active no longer counts as one to roll back to.</summary>
    public void Rollback(RouterVersion target)
    {
        if (_active is { } bad)
        {
            _activations.Remove(bad);
        }

        Activate(target);
    }

    /// <summary>Gives a version up; it takes no more requests.</summary>
    public void Retire(RouterVersion version)
    {
        _usable = _usable.Remove(version.Number);
        _activations.Remove(version);
        if (_active == version)
        {
            _active = null;
        }

        version.Retire();
    }

    /// <summary>Inactive versions beyond those to keep: the rollback target is kept first, then the newest.</summary>
    public IReadOnlyList<RouterVersion> Surplus(int kept)
    {
        var target = RollbackTarget;
        return [.. _usable.Values
            .Where(version => version.Phase == RouterPhase.Loaded)
            .OrderByDescending(version => version == target)
            .ThenByDescending(version => version.Number)
            .Skip(kept)];
    }
}
