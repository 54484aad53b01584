using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Engines;

/// <summary>Some callable engines, immutable.</summary>
/// <param name="engines">Sorted by id.</param>
/// <param name="name">Names the set, the same in each snapshot of the fleet: turns of RoundRobin go by it.</param>
/// <param name="whyEmpty">What to say where an engine is asked of an empty set.</param>
internal sealed class HostEngineSet(HostEngine[] engines, string name, RoundRobinCounters turns, Func<string> whyEmpty) : EngineSet
{
    private readonly RoundRobinCounters.Counter turn = turns.Of(name);
    private readonly RoundRobinCounters.Counter tie = turns.Of(name + "|ties");

    public override int Count => engines.Length;

    public override Engine this[int index] =>
        (uint)index < (uint)engines.Length
            ? engines[index]
            : throw new ArgumentOutOfRangeException(nameof(index), $"No engine {index}: the set '{name}' has {engines.Length}.");

    public override Engine LeastLoaded() => LeastLoaded(engines, Begin(ChoiceKind.LeastLoaded), cached: null);

    public override Engine RoundRobin()
    {
        if (engines.Length == 0)
        {
            throw Empty();
        }

        var next = engines[turn.Next(engines.Length)];
        Made(Begin(ChoiceKind.RoundRobin), new Candidate(next.Id, -1, -1, -1));
        return next;
    }

    public override Engine LongestPrefix(Request request)
    {
        var choice = Begin(ChoiceKind.LongestPrefix);
        var best = new List<HostEngine>(engines.Length);
        var longest = -1;
        foreach (var engine in engines)
        {
            var cached = engine.CachedPrefix(request);
            choice?.Saw(new Candidate(engine.Id, -1, -1, cached));
            if (cached > longest)
            {
                longest = cached;
                best.Clear();
            }

            if (cached == longest)
            {
                best.Add(engine);
            }
        }

        return LeastLoaded(best, choice, longest);
    }

    public override EngineSet Where(Func<Engine, bool> condition)
    {
        ArgumentNullException.ThrowIfNull(condition);
        HostEngine[] those = [.. engines.Where(engine => condition(engine))];
        return new HostEngineSet(those, $"{name}:{string.Join(',', those.Select(engine => engine.Id))}", turns, () => "no engine meets the router's condition");
    }

    public IEnumerator<Engine> Engines() => engines.AsEnumerable<Engine>().GetEnumerator();

    /// <summary>For the trace of the request whose script asks; null if nobody keeps it.</summary>
    private Choice? Begin(ChoiceKind kind) => RequestTrace.OfScript is { } trace ? new Choice(trace.ElapsedMs, kind, name, engines.Length) : null;

    private static void Made(Choice? choice, in Candidate chosen)
    {
        if (choice is not null)
        {
            choice.Made(chosen);
            RequestTrace.OfScript?.Decided(choice);
        }
    }

    /// <param name="cached">Tokens of the request that each of these has, where that was asked.</param>
    private HostEngine LeastLoaded(IReadOnlyList<HostEngine> among, Choice? choice, int? cached)
    {
        if (among.Count == 0)
        {
            throw Empty();
        }

        // Beginning at another place each time lets ties go round.
        var first = tie.Next(among.Count);
        var best = among[first];
        var least = best.Member.Work.Ahead;
        choice?.Saw(Seen(best, least));
        for (var i = 1; i < among.Count; i++)
        {
            var engine = among[(first + i) % among.Count];
            var ahead = engine.Member.Work.Ahead;
            choice?.Saw(Seen(engine, ahead));
            if (ahead.CompareTo(least) < 0)
            {
                (best, least) = (engine, ahead);
            }
        }

        Made(choice, Seen(best, least));
        return best;

        Candidate Seen(HostEngine engine, WorkAhead ahead) => new(engine.Id, ahead.PrefillTokens, ahead.Sequences, cached ?? -1);
    }

    private EngineException Empty() => new("", EngineError.Unavailable, $"No engine to call: {whyEmpty()}.");
}
