using System.Collections.Concurrent;
using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>
/// The fleet as a shadow sees it: within a request, the engines as they stood when that request came; outside (PlanStrategy, OnLoad) those of
/// the moment. Nothing done to it reaches an engine.
/// </summary>
internal sealed class ShadowFleet(RouterFleet live) : RouterFleet
{
    private readonly ConcurrentDictionary<string, int> turns = new(StringComparer.Ordinal);

    public override int Count => All().Count;

    public override Engine this[int index] => All()[index];

    public override Engine LeastLoaded() => All().LeastLoaded();

    public override Engine RoundRobin() => All().RoundRobin();

    public override Engine LongestPrefix(Request request) => All().LongestPrefix(request);

    public override EngineSet Where(Func<Engine, bool> condition) => All().Where(condition);

    public override EngineSet Role(string label)
    {
        ArgumentNullException.ThrowIfNull(label);
        var all = All();
        var those = all.Where(engine => engine.Labels.Contains(label)).ToArray<Engine>();
        return new ShadowSet(this, Run, those.Length > 0 ? [.. those.Cast<ShadowEngine>()] : all.Engines, $"role {label}");
    }

    public override Engine? Find(string id) => Array.Find(All().Engines, engine => engine.Id == id);

    /// <summary>Round robin goes on from one request to the next.</summary>
    public int Turn(string set) => turns.AddOrUpdate(set, 0, static (_, turn) => turn + 1);

    private static ShadowRun? Run => ScriptScope.Current?.Record as ShadowRun;

    private ShadowSet All() => new(this, Run, Run?.Engines ?? [.. SeenEngine.All(live, null).Select(seen => new ShadowEngine(seen, null))], "all");
}

/// <summary>Some engines of a shadow's fleet. Chooses as the live fleet does; where the request's own script asked the same, it gets the same engine.</summary>
/// <param name="name">As the live fleet names the set.</param>
internal sealed class ShadowSet(ShadowFleet fleet, ShadowRun? run, ShadowEngine[] engines, string name) : EngineSet
{
    public ShadowEngine[] Engines => engines;

    public override int Count => engines.Length;

    public override Engine this[int index] => engines[index];

    public override Engine LeastLoaded() => Recorded(ChoiceKind.LeastLoaded) ?? Least(engines);

    public override Engine RoundRobin() => Recorded(ChoiceKind.RoundRobin) ?? (engines.Length > 0 ? engines[fleet.Turn(name) % engines.Length] : throw Empty());

    public override Engine LongestPrefix(Request request)
    {
        if (Recorded(ChoiceKind.LongestPrefix) is { } recorded)
        {
            return recorded;
        }

        var longest = engines.Select(engine => engine.Seen.Cached).DefaultIfEmpty(0).Max();
        return Least([.. engines.Where(engine => engine.Seen.Cached == longest)]);
    }

    public override EngineSet Where(Func<Engine, bool> condition)
    {
        ArgumentNullException.ThrowIfNull(condition);
        ShadowEngine[] those = [.. engines.Where(engine => condition(engine))];
        return new ShadowSet(fleet, run, those, $"{name}:{string.Join(',', those.Select(engine => engine.Id))}");
    }

    private ShadowEngine? Recorded(ChoiceKind kind) => run?.Chosen(kind, name) is { } id ? Array.Find(engines, engine => engine.Id == id) : null;

    private static ShadowEngine Least(ShadowEngine[] among) => among.Length > 0 ? among.MinBy(engine => engine.Seen.Ahead)! : throw Empty();

    private static EngineException Empty() => new("", EngineError.Unavailable, "No engine to call.");
}
