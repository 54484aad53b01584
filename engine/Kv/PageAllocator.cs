namespace ScriptedServe.Engine.Kv;

/// <summary>
/// Who has which page of the KV pool. A page is free, held (by sequences and reservations, counted), or idle cache: kept by the prefix
/// cache alone, in the order it was last let go. Bookkeeping only; it never touches the pages' bytes. Not thread-safe.
/// </summary>
public sealed class PageAllocator
{
    private const int NotListed = -1;

    private readonly int[] _references;
    private readonly bool[] _cached;
    private readonly int[] _free;
    private int _freeCount;

    // Doubly linked ring of idle cached pages, oldest first; index Total is its sentinel.
    private readonly int[] _newer;
    private readonly int[] _older;

    public PageAllocator(int pages)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pages);
        Total = pages;
        _references = new int[pages];
        _cached = new bool[pages];
        _newer = new int[pages + 1];
        _older = new int[pages + 1];
        Array.Fill(_newer, NotListed);
        Array.Fill(_older, NotListed);
        _newer[pages] = _older[pages] = pages;

        // Low pages are handed out first.
        _free = [.. Enumerable.Range(0, pages).Reverse()];
        _freeCount = pages;
    }

    public int Total { get; }

    /// <summary>Pages nobody uses.</summary>
    public int Free => _freeCount;

    /// <summary>Pages with at least one holder.</summary>
    public int Held => Total - _freeCount - Idle;

    /// <summary>Pages kept by the prefix cache alone.</summary>
    public int Idle { get; private set; }

    /// <summary>Pages that can be had now: free ones, and idle ones after eviction.</summary>
    public int Available => _freeCount + Idle;

    public bool IsCached(int page) => _cached[page];

    public int References(int page) => _references[page];

    /// <summary>The idle page let go longest ago, or null.</summary>
    public int? OldestIdle => _newer[Total] == Total ? null : _newer[Total];

    /// <summary>Takes a free page with one holder; false if none is free (idle ones are not evicted here).</summary>
    public bool TryTake(out int page)
    {
        if (_freeCount == 0)
        {
            page = default;
            return false;
        }

        page = _free[--_freeCount];
        _references[page] = 1;
        return true;
    }

    /// <summary>Adds a holder to a page that is held or cached.</summary>
    public void Retain(int page)
    {
        if (_references[page] == 0)
        {
            if (!_cached[page])
            {
                throw new InvalidOperationException($"Page {page} is free and cannot be retained");
            }

            Unlist(page);
        }

        _references[page]++;
    }

    /// <summary>Ends one hold. The last one leaves the page idle if it is cached, else free.</summary>
    public void Release(int page)
    {
        if (_references[page] <= 0)
        {
            throw new InvalidOperationException($"Page {page} has no holder to release it");
        }

        if (--_references[page] > 0)
        {
            return;
        }

        if (_cached[page])
        {
            List(page);
        }
        else
        {
            _free[_freeCount++] = page;
        }
    }

    /// <summary>The prefix cache takes a held page into its tree.</summary>
    public void Cache(int page)
    {
        if (_references[page] == 0 || _cached[page])
        {
            throw new InvalidOperationException($"Page {page} cannot enter the cache: {_references[page]} holders, cached {_cached[page]}");
        }

        _cached[page] = true;
    }

    /// <summary>The prefix cache lets a page go; it is free now unless held.</summary>
    public void Uncache(int page)
    {
        if (!_cached[page])
        {
            throw new InvalidOperationException($"Page {page} is not cached");
        }

        _cached[page] = false;
        if (_references[page] == 0)
        {
            Unlist(page);
            _free[_freeCount++] = page;
        }
    }

    /// <summary>Recounts everything: free + held + idle = total, each page in exactly one of the three.</summary>
    /// <exception cref="InvalidOperationException">The books do not balance; the message says how.</exception>
    public void CheckIntegrity()
    {
        var free = new HashSet<int>(_free.AsSpan(0, _freeCount).ToArray());
        if (free.Count != _freeCount)
        {
            throw new InvalidOperationException("A page is on the free list twice");
        }

        var listed = new HashSet<int>();
        for (var page = _newer[Total]; page != Total; page = _newer[page])
        {
            if (!listed.Add(page) || _older[_newer[page]] != page)
            {
                throw new InvalidOperationException($"The list of idle pages is broken at page {page}");
            }
        }

        var held = 0;
        for (var page = 0; page < Total; page++)
        {
            var (isFree, isListed, isHeld) = (free.Contains(page), listed.Contains(page), _references[page] > 0);
            if ((isFree ? 1 : 0) + (isListed ? 1 : 0) + (isHeld ? 1 : 0) != 1 || (isFree && _cached[page]) || (isListed && !_cached[page]))
            {
                throw new InvalidOperationException(
                    $"Page {page} is in no state or two: free {isFree}, idle {isListed}, {_references[page]} holders, cached {_cached[page]}");
            }

            held += isHeld ? 1 : 0;
        }

        if (listed.Count != Idle || free.Count + held + listed.Count != Total)
        {
            throw new InvalidOperationException($"{free.Count} free + {held} held + {listed.Count} idle (counted {Idle}) is not {Total}");
        }
    }

    private void List(int page)
    {
        var newest = _older[Total];
        (_newer[newest], _older[page]) = (page, newest);
        (_newer[page], _older[Total]) = (Total, page);
        Idle++;
    }

    private void Unlist(int page)
    {
        _newer[_older[page]] = _newer[page];
        _older[_newer[page]] = _older[page];
        _newer[page] = _older[page] = NotListed;
        Idle--;
    }
}
