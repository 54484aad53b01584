using System.Collections;

namespace ScriptedServe.Scripting;

/// <summary>Some engines that can be called now, in the order of their ids. A snapshot: it does not change.</summary>
public abstract class EngineSet : IReadOnlyList<Engine>
{
    /// <summary>The number of engines.</summary>
    public abstract int Count { get; }

    /// <summary>The engine at a place.</summary>
    /// <param name="index">From 0.</param>
    public abstract Engine this[int index] { get; }

    /// <summary>The engine with the least work before it: queued prefill, then sequences, own calls in flight included. Ties go round.</summary>
    /// <exception cref="EngineException">The set is empty.</exception>
    public abstract Engine LeastLoaded();

    /// <summary>Each engine of this set in turn.</summary>
    /// <exception cref="EngineException">The set is empty.</exception>
    public abstract Engine RoundRobin();

    /// <summary>The engine with the longest cached prefix of the request; among equals the least loaded.</summary>
    /// <param name="request">The request being routed.</param>
    /// <exception cref="EngineException">The set is empty.</exception>
    public abstract Engine LongestPrefix(Request request);

    /// <summary>
    /// The engine that a key leads to: the same one as long as it is there, whatever other engines come and go, and the same on every host.
    /// Many keys spread evenly.
    /// </summary>
    /// <param name="key">A session, a user, a tenant.</param>
    /// <exception cref="EngineException">The set is empty.</exception>
    public Engine Sticky(string key)
    {
        ArgumentNullException.ThrowIfNull(key);
        Engine? chosen = null;
        var highest = 0UL;
        foreach (var engine in this)
        {
            // Rendezvous hashing: each engine draws a number from the key, the highest wins.
            var draw = Hash.Of(key, engine.Id);
            if (chosen is null || draw > highest)
            {
                (chosen, highest) = (engine, draw);
            }
        }

        return chosen ?? LeastLoaded();
    }

    /// <summary>The engines of this set that a condition holds for; may be empty.</summary>
    /// <param name="condition">Asked once an engine.</param>
    public abstract EngineSet Where(Func<Engine, bool> condition);

    /// <inheritdoc/>
    public virtual IEnumerator<Engine> GetEnumerator()
    {
        for (var i = 0; i < Count; i++)
        {
            yield return this[i];
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>A hash that is the same in every process, unlike <see cref="string.GetHashCode()"/>.</summary>
file static class Hash
{
    /// <summary>FNV-1a over both texts, then the finalizer of MurmurHash3, so that texts that differ in one place differ everywhere.</summary>
    public static ulong Of(string first, string second)
    {
        var hash = 0xcbf29ce484222325;
        foreach (var c in first)
        {
            hash = (hash ^ c) * 0x100000001b3;
        }

        hash = (hash ^ 0xffff) * 0x100000001b3;
        foreach (var c in second)
        {
            hash = (hash ^ c) * 0x100000001b3;
        }

        hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
        hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
        return hash ^ (hash >> 33);
    }
}

/// <summary>The engines that can be called now. Each use sees the fleet as it is at that moment.</summary>
public abstract class RouterFleet : EngineSet
{
    /// <summary>The engines labelled with a role; with no such engine, all engines.</summary>
    /// <param name="label">For example <c>prefill</c> or <c>decode</c>.</param>
    public abstract EngineSet Role(string label);

    /// <summary>An engine by id, or null.</summary>
    /// <param name="id">As listed by <c>/admin/engines</c>.</param>
    public abstract Engine? Find(string id);
}
