namespace ScriptedServe.Engine.Kv;

/// <summary>One page in the prefix cache's tree.</summary>
/// <param name="parent">The page before; null for the root.</param>
/// <param name="tokens">The tokens whose KV the page holds, at most a page of them.</param>
/// <param name="page">The page; -1 for the root.</param>
/// <param name="hash">Chained hash of the prefix that ends here; of no meaning for a page filled in part.</param>
internal sealed class CacheNode(CacheNode? parent, int[] tokens, int page, ulong hash)
{
    // Ordered by tokens, so that the child with the longest common prefix stands next to where a query would be inserted.
    private readonly List<CacheNode> _children = [];

    public CacheNode? Parent { get; } = parent;

    public int[] Tokens { get; } = tokens;

    public int Page { get; } = page;

    public ulong Hash { get; } = hash;

    public bool HasChildren => _children.Count > 0;

    /// <summary>The child that shares most leading tokens with <paramref name="tokens"/>, and how many; null if none shares the first.</summary>
    public (CacheNode? Child, int Common) Closest(ReadOnlySpan<int> tokens)
    {
        var index = IndexOf(tokens);
        var (best, common) = ((CacheNode?)null, 0);
        for (var neighbour = Math.Max(0, index - 1); neighbour <= index && neighbour < _children.Count; neighbour++)
        {
            var shared = _children[neighbour].Tokens.AsSpan().CommonPrefixLength(tokens);
            if (shared > common)
            {
                (best, common) = (_children[neighbour], shared);
            }
        }

        return (best, common);
    }

    public void Add(CacheNode child) => _children.Insert(IndexOf(child.Tokens), child);

    public void Remove(CacheNode child) => _children.RemoveAt(IndexOf(child.Tokens));

    /// <summary>All nodes below, each after its parent.</summary>
    public IEnumerable<CacheNode> Descendants()
    {
        var pending = new Stack<CacheNode>(_children);
        while (pending.TryPop(out var node))
        {
            yield return node;
            node._children.ForEach(pending.Push);
        }
    }

    /// <summary>The index of the child with exactly these tokens, or where it would stand.</summary>
    private int IndexOf(ReadOnlySpan<int> tokens)
    {
        var (low, high) = (0, _children.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_children[middle].Tokens.AsSpan().SequenceCompareTo(tokens) < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
