using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>
/// What one engine's prefix cache is believed to hold: the chained hashes of its whole pages, as its cache events tell.
/// Bounded; past the bound new pages are not learned, which can only misguide routing. Thread-safe.
/// </summary>
internal sealed class PrefixIndex(int capacity = PrefixIndex.DefaultCapacity)
{
    /// <summary>Pages; some 16 MB a full index.</summary>
    public const int DefaultCapacity = 1 << 20;

    private readonly Lock gate = new();
    private readonly HashSet<ulong> pages = [];

    public int Count
    {
        get
        {
            lock (gate)
            {
                return pages.Count;
            }
        }
    }

    /// <summary>Leading pages of a prompt that are cached.</summary>
    /// <param name="chain">The prompt's page hashes, each chained on the one before.</param>
    public int LeadingPages(ReadOnlySpan<ulong> chain)
    {
        lock (gate)
        {
            var matched = 0;
            while (matched < chain.Length && pages.Contains(chain[matched]))
            {
                matched++;
            }

            return matched;
        }
    }

    /// <summary>Within one event the cache was cleared first, then pages were removed, then stored.</summary>
    public void Apply(IEnumerable<Wire.CacheEvent> events)
    {
        lock (gate)
        {
            foreach (var change in events)
            {
                if (change.Cleared)
                {
                    pages.Clear();
                }

                foreach (var page in change.Removed)
                {
                    pages.Remove(page);
                }

                foreach (var page in change.Stored)
                {
                    if (pages.Count < capacity)
                    {
                        pages.Add(page);
                    }
                }
            }
        }
    }

    public void Clear()
    {
        lock (gate)
        {
            pages.Clear();
        }
    }
}
