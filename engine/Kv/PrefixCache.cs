using ScriptedServe.Contracts;

namespace ScriptedServe.Engine.Kv;

/// <summary>Told of each whole page that enters or leaves the prefix cache, by its chained hash; a parent enters before its children.</summary>
public interface IPrefixCacheListener
{
    void Stored(ulong hash);

    void Removed(ulong hash);
}

/// <summary>
/// KV that can be used again, found by its tokens: a tree in which each node is one page and a path from the root is a prefix. Nodes are
/// whole pages, except that a leaf may be a page whose first tokens alone are filled. A page in the tree is never written. Sequences that are computed
/// as long ones (<see cref="Compute.ModelDescription.ShortContext"/>) have a tree of their own. Not thread-safe.
/// </summary>
/// <remarks>
/// Whoever holds a node's page holds those of all its ancestors too, and lets go of the deepest first. So the idle page let go longest ago is
/// always a leaf, and eviction takes it without a search.
/// </remarks>
public sealed class PrefixCache(PageAllocator pages, int pageTokens, IPrefixCacheListener? listener = null)
{
    private readonly CacheNode _root = CacheNode.Root(PrefixHash.Root);
    private readonly CacheNode _longRoot = CacheNode.Root(PrefixHash.LongRoot);

    // [pages]: made when the page first enters the tree.
    private readonly CacheNode?[] _nodes = new CacheNode?[pages.Total];

    // Of pages that somebody holds; taken anew, a page starts clean.
    private readonly bool[] _discarded = new bool[pages.Total];

    public PageAllocator Pages { get; } = pages;

    public int PageTokens { get; } = pageTokens;

    /// <summary>The root of the prefixes of long sequences, or of all others.</summary>
    internal CacheNode Root(bool longContext) => longContext ? _longRoot : _root;

    /// <summary>Takes a page for one holder, evicting the oldest idle one where none is free.</summary>
    public bool TryTake(out int page)
    {
        if (!Pages.TryTake(out page))
        {
            if (Pages.OldestIdle is not { } oldest)
            {
                return false;
            }

            Remove(_nodes[oldest]!);
            _ = Pages.TryTake(out page);
        }

        _discarded[page] = false;
        return true;
    }

    /// <summary>
    /// Finds the longest cached prefix of <paramref name="tokens"/> and retains its pages, appended to <paramref name="found"/>. The
    /// last of them may be matched in its first tokens only. O(length).
    /// </summary>
    /// <param name="longContext">Among the prefixes of long sequences.</param>
    /// <returns>Tokens matched.</returns>
    internal int MatchAndRetain(ReadOnlySpan<int> tokens, PageList found, bool longContext = false)
    {
        var (node, matched) = (Root(longContext), 0);
        while (matched < tokens.Length)
        {
            var (child, common) = node.Closest(tokens[matched..Math.Min(tokens.Length, matched + PageTokens)]);
            if (child is null)
            {
                break;
            }

            Pages.Retain(child.Page);
            found.Add(child.Page);
            matched += common;
            if (common < PageTokens)
            {
                break;
            }

            node = child;
        }

        return matched;
    }

    /// <summary>
    /// Puts one page below <paramref name="parent"/>; its holder must hold the parent's page too. If the tree has a whole page of the same tokens
    /// already, the holder gets that one in exchange and its own is released.
    /// </summary>
    /// <param name="parent">The node of the page before.</param>
    /// <param name="tokens">The page's tokens; fewer than a page only if nothing will be written to the rest of it while it is cached.</param>
    /// <param name="page">Held by the caller; replaced if the tree had the same.</param>
    /// <returns>The page's node, or null if it is not whole and added nothing new.</returns>
    internal CacheNode? Store(CacheNode parent, ReadOnlySpan<int> tokens, ref int page)
    {
        var (closest, common) = parent.Closest(tokens);
        if (closest is not null && common == tokens.Length)
        {
            if (tokens.Length < PageTokens)
            {
                return null;
            }

            if (closest.Page != page)
            {
                Pages.Retain(closest.Page);
                Pages.Release(page);
                page = closest.Page;
            }

            return closest;
        }

        if (closest is not null && common == closest.Tokens.Length)
        {
            // A page in part that the new one continues: it answers nothing the new one does not.
            Remove(closest);
        }

        var node = _nodes[page] ??= new CacheNode(page, PageTokens);
        parent.Add(node, tokens, tokens.Length == PageTokens ? PrefixHash.Of(parent.Hash, tokens) : 0);
        Pages.Cache(page);
        if (tokens.Length == PageTokens)
        {
            listener?.Stored(node.Hash);
        }

        return node;
    }

    /// <summary>
    /// Takes a page out of the tree so that its only holder may write it; false if others hold it or pages below depend on it.
    /// </summary>
    public bool TryWithdraw(int page)
    {
        if (_nodes[page] is not { IsInTree: true, HasChildren: false } node || Pages.References(page) != 1)
        {
            return false;
        }

        Remove(node);
        return true;
    }

    /// <summary>The page's KV is damaged: it was discarded, and its holders, if any, are not to store it again.</summary>
    public bool IsDiscarded(int page) => _discarded[page];

    /// <summary>Takes a held page, and all pages below it in the tree, out of the cache for as long as somebody holds them.</summary>
    public void Discard(int page)
    {
        _discarded[page] = true;
        if (_nodes[page] is { IsInTree: true } node)
        {
            // Each after its parent, so backwards each before it.
            foreach (var below in node.Descendants().Reverse())
            {
                _discarded[below.Page] = true;
                Remove(below);
            }

            Remove(node);
        }
    }

    /// <summary>Hashes of all whole pages, parents before children.</summary>
    public IEnumerable<ulong> WholePages() => Nodes.Where(node => node.Tokens.Length == PageTokens).Select(node => node.Hash);

    /// <summary>Checks the tree against the allocator's books, which are checked as well.</summary>
    public void CheckIntegrity()
    {
        Pages.CheckIntegrity();
        var seen = 0;
        foreach (var node in Nodes)
        {
            seen++;
            var parent = node.Parent!;
            if (_nodes[node.Page] != node || !Pages.IsCached(node.Page))
            {
                throw new InvalidOperationException($"Page {node.Page} is in the tree but not in the books");
            }

            if (parent.Page >= 0 && (Pages.References(parent.Page) < Pages.References(node.Page) || parent.Tokens.Length != PageTokens))
            {
                throw new InvalidOperationException($"Page {node.Page} is held while its parent {parent.Page} is not, or its parent is not whole");
            }
        }

        var cached = Enumerable.Range(0, Pages.Total).Count(Pages.IsCached);
        if (cached != seen || _nodes.Count(node => node is { IsInTree: true }) != seen)
        {
            throw new InvalidOperationException($"{cached} pages are marked cached, the tree has {seen}");
        }
    }

    private IEnumerable<CacheNode> Nodes => _root.Descendants().Concat(_longRoot.Descendants());

    private void Remove(CacheNode node)
    {
        node.Leave();
        Pages.Uncache(node.Page);
        if (node.Tokens.Length == PageTokens)
        {
            listener?.Removed(node.Hash);
        }
    }
}
