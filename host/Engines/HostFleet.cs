using System.Collections.Frozen;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Engines;

/// <summary>The engines that can be called at one moment. Immutable; published by one reference write.</summary>
internal sealed class FleetSnapshot
{
    private readonly FrozenDictionary<string, HostEngineSet> roles;
    private readonly FrozenDictionary<string, HostEngine> byId;
    private readonly HostEngine[] engines;
    private readonly RoundRobinCounters turns;
    private readonly Func<string> whyEmpty;

    public FleetSnapshot(IEnumerable<HostEngine> serving, RoundRobinCounters turns, Func<string> whyEmpty)
    {
        this.turns = turns;
        this.whyEmpty = whyEmpty;
        engines = [.. serving.OrderBy(engine => engine.Id, StringComparer.Ordinal)];
        All = new HostEngineSet(engines, "all", turns, whyEmpty);
        byId = engines.ToFrozenDictionary(engine => engine.Id, StringComparer.Ordinal);
        roles = engines
            .SelectMany(engine => engine.Member.Labels)
            .Distinct(StringComparer.Ordinal)
            .ToFrozenDictionary(
                label => label,
                label => new HostEngineSet([.. engines.Where(engine => engine.Member.Labels.Contains(label))], $"role {label}", turns, whyEmpty),
                StringComparer.Ordinal);
    }

    public HostEngineSet All { get; }

    /// <summary>With no engine so labelled, all engines, but in turns of its own: prefill and decode go round independently.</summary>
    public HostEngineSet Role(string label) =>
        roles.TryGetValue(label, out var set) ? set : new HostEngineSet(engines, $"role {label}", turns, whyEmpty);

    public HostEngine? Find(string id) => byId.GetValueOrDefault(id);
}

/// <summary>The fleet as scripts see it: each use reads the snapshot of that moment.</summary>
internal sealed class HostFleet(FleetSnapshot first) : RouterFleet
{
    private volatile FleetSnapshot current = first;

    public FleetSnapshot Current
    {
        get => current;
        set => current = value;
    }

    public override int Count => Current.All.Count;

    public override Engine this[int index] => Current.All[index];

    public override Engine LeastLoaded() => Current.All.LeastLoaded();

    public override Engine RoundRobin() => Current.All.RoundRobin();

    public override Engine LongestPrefix(Request request) => Current.All.LongestPrefix(request);

    public override EngineSet Where(Func<Engine, bool> condition) => Current.All.Where(condition);

    public override EngineSet Role(string label)
    {
        ArgumentNullException.ThrowIfNull(label);
        return Current.Role(label);
    }

    public override Engine? Find(string id)
    {
        ArgumentNullException.ThrowIfNull(id);
        var found = Current.Find(id);
        if (RequestTrace.OfScript is { } trace)
        {
            var choice = new Choice(trace.ElapsedMs, ChoiceKind.Find, id, found is null ? 0 : 1);
            if (found is not null)
            {
                choice.Made(new Candidate(id, -1, -1, -1));
            }

            trace.Decided(choice);
        }

        return found;
    }

    /// <summary>Enumerates one snapshot, whatever happens to the fleet meanwhile.</summary>
    public override IEnumerator<Engine> GetEnumerator() => Current.All.Engines();
}
