namespace ScriptedServe.Engine.Kv;

/// <summary>Copies the bytes of a page, all layers, within the pool.</summary>
public delegate void PageCopier(int from, int to);

/// <summary>
/// The pages that hold the KV of one token sequence: page i has positions [i*pageTokens, (i+1)*pageTokens). It owns one hold on each of its
/// pages; a sequence and a reservation each have one table, and hand it on whole. Not thread-safe.
/// </summary>
/// <param name="longContext">Its KV is that of a long sequence; see <see cref="PrefixCache"/>.</param>
public sealed class BlockTable(PrefixCache cache, bool longContext = false)
{
    private readonly PageList _pages = new();

    // The node of the last page that Publish stored, and how many pages that is: publishing goes on from there.
    private CacheNode _published = cache.Root(longContext);
    private int _publishedPages;

    public int Count => _pages.Count;

    /// <summary>Its KV is that of a long sequence.</summary>
    public bool IsLong { get; private set; } = longContext;

    public int this[int index] => _pages[index];

    /// <summary>Positions the pages have room for.</summary>
    public int Capacity => _pages.Count * cache.PageTokens;

    /// <summary>The pages. Valid until the table changes.</summary>
    public ReadOnlyMemory<int> Pages => _pages.Memory;

    /// <summary>Makes room in this table, not in the pool, so that growing to so many tokens allocates nothing.</summary>
    public void Reserve(int tokens) => _pages.Reserve(PagesOf(tokens));

    /// <summary>Fills an empty table with the longest cached prefix of <paramref name="tokens"/>.</summary>
    /// <returns>Tokens matched; inside the last page if not a multiple of the page.</returns>
    public int Match(ReadOnlySpan<int> tokens)
    {
        if (_pages.Count != 0)
        {
            throw new InvalidOperationException("Only an empty block table can be matched");
        }

        return cache.MatchAndRetain(tokens, _pages, IsLong);
    }

    /// <summary>From now on an empty table has, or has not, the KV of a long sequence.</summary>
    public void Become(bool longContext)
    {
        if (_pages.Count != 0)
        {
            throw new InvalidOperationException("Only an empty block table can be given to a sequence of another length");
        }

        IsLong = longContext;
        _published = cache.Root(longContext);
    }

    /// <summary>Lets go of the pages behind the first <paramref name="pages"/>.</summary>
    public void Truncate(int pages)
    {
        for (var index = _pages.Count - 1; index >= pages; index--)
        {
            cache.Pages.Release(_pages[index]);
            _pages.RemoveLast();
        }

        if (_publishedPages > pages)
        {
            (_published, _publishedPages) = (cache.Root(IsLong), 0);
        }
    }

    /// <summary>Adds pages until <paramref name="tokens"/> fit; adds none and answers false if there are not enough.</summary>
    public bool TryExtend(int tokens)
    {
        var missing = Missing(tokens);
        if (missing > cache.Pages.Available)
        {
            return false;
        }

        for (; missing > 0; missing--)
        {
            _ = cache.TryTake(out var page);
            _pages.Add(page);
        }

        return true;
    }

    /// <summary>
    /// Makes this table fit for writing [<paramref name="position"/>, <paramref name="tokens"/>), or leaves all as it was and answers false if there are not
    /// enough pages: the page of the position is made this table's own, then pages are added. A page that others hold or the cache keeps is copied; where its place is
    /// needed for that very copy, it is taken out of the cache instead.
    /// </summary>
    public bool TryMakeRoom(int position, int tokens, PageCopier copy)
    {
        var index = position / cache.PageTokens;
        if (index >= _pages.Count || (!cache.Pages.IsCached(_pages[index]) && cache.Pages.References(_pages[index]) == 1))
        {
            return TryExtend(tokens);
        }

        // A copy takes a page, and gives back the one copied from if nobody else holds it.
        var (page, free, missing) = (_pages[index], cache.Pages.Available, Missing(tokens));
        var givesBack = cache.Pages.References(page) == 1;
        if (free < missing || (free == missing && !givesBack))
        {
            return false;
        }

        if ((free > missing || !cache.TryWithdraw(page)) && !TryReplace(index, copy))
        {
            return false;
        }

        if (_publishedPages > index)
        {
            (_published, _publishedPages) = (cache.Root(IsLong), 0);
        }

        return TryExtend(tokens);
    }

    /// <summary>
    /// Puts the pages of <paramref name="tokens"/>, whose KV must be complete, into the prefix cache. Pages the cache has already are exchanged
    /// for the cache's, so nobody else may be reading or writing this table's own at that moment.
    /// </summary>
    /// <param name="tokens">Tokens from position 0.</param>
    /// <param name="withTail">Also the last page if it is not whole; only when nothing more will be written to it.</param>
    public void Publish(ReadOnlySpan<int> tokens, bool withTail)
    {
        var whole = tokens.Length / cache.PageTokens;
        for (; _publishedPages < whole && CanPublishNext; _publishedPages++)
        {
            _published = Store(tokens.Slice(_publishedPages * cache.PageTokens, cache.PageTokens), _publishedPages)!;
        }

        if (withTail && tokens.Length % cache.PageTokens != 0 && whole == _publishedPages && CanPublishNext)
        {
            _ = Store(tokens[(whole * cache.PageTokens)..], whole);
        }
    }

    /// <summary>Lets go of all pages, the last first.</summary>
    public void Release() => Truncate(0);

    /// <summary>
    /// Lets go of all pages and takes them, and all that continues them, out of the cache for good: their KV is not to be trusted. Others who hold them now keep
    /// them, but what they hold is not cached again.
    /// </summary>
    public void Discard()
    {
        foreach (var page in _pages.Span)
        {
            cache.Discard(page);
        }

        Truncate(0);
    }

    // Below a page that was discarded nothing is stored: its node is gone, and what continues it was computed from it.
    private bool CanPublishNext => (_publishedPages == 0 || !cache.IsDiscarded(_pages[_publishedPages - 1])) && !cache.IsDiscarded(_pages[_publishedPages]);

    private int Missing(int tokens) => Math.Max(0, PagesOf(tokens) - _pages.Count);

    private int PagesOf(int tokens) => (tokens + cache.PageTokens - 1) / cache.PageTokens;

    private bool TryReplace(int index, PageCopier copy)
    {
        var page = _pages[index];
        if (!cache.TryTake(out var own))
        {
            return false;
        }

        try
        {
            copy(page, own);
        }
        catch
        {
            cache.Pages.Release(own);
            throw;
        }

        _pages[index] = own;
        cache.Pages.Release(page);
        return true;
    }

    private CacheNode? Store(ReadOnlySpan<int> tokens, int index)
    {
        var page = _pages[index];
        var node = cache.Store(_published, tokens, ref page);
        _pages[index] = page;
        return node;
    }
}
