using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// What one watcher of the prefix cache has not been told yet. Changes that cancel out between two reports are not told; a watcher that falls far
/// behind is told the whole state anew. The core's thread alone touches it.
/// </summary>
internal sealed class CacheJournal(PrefixCache cache, int longest)
{
    private readonly List<(ulong Hash, bool Stored)> _changes = [];
    private bool _tellAll = true;

    public bool IsEmpty => !_tellAll && _changes.Count == 0;

    public void Add(ulong hash, bool stored)
    {
        if (_tellAll)
        {
            return;
        }

        _changes.Add((hash, stored));
        if (_changes.Count > longest)
        {
            _tellAll = true;
            _changes.Clear();
        }
    }

    /// <summary>The changes since the last call, or null.</summary>
    public CacheEvent? Take()
    {
        if (IsEmpty)
        {
            return null;
        }

        var told = new CacheEvent { Cleared = _tellAll };
        if (_tellAll)
        {
            told.Stored.AddRange(cache.WholePages());
            _tellAll = false;
            return told;
        }

        // The last change of each page counts. A parent's last entry comes before its child's, so order by last change keeps parents first.
        var seen = new HashSet<ulong>();
        var stored = new List<ulong>();
        for (var index = _changes.Count - 1; index >= 0; index--)
        {
            var (hash, isStored) = _changes[index];
            if (seen.Add(hash))
            {
                if (isStored)
                {
                    stored.Add(hash);
                }
                else
                {
                    told.Removed.Add(hash);
                }
            }
        }

        stored.Reverse();
        told.Stored.AddRange(stored);
        _changes.Clear();
        return told;
    }
}
