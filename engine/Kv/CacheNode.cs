namespace ScriptedServe.Engine.Kv;

/// <summary>
/// The place of one page in the prefix cache's tree. A page keeps its node for good, in the tree or not, so that a cache whose pages come and go allocates
/// nothing for them.
/// </summary>
/// <param name="page">The page; -1 for a root.</param>
/// <param name="pageTokens">Most tokens it holds; 0 for a root.</param>
internal sealed class CacheNode(int page, int pageTokens)
{
    private readonly int[] _tokens = new int[pageTokens];
    private int _count;

    // Ordered by tokens, so that the child with the longest common prefix stands next to where a query would be inserted. Most nodes have one or none.
    private CacheNode[] _children = [];
    private int _childCount;

    /// <summary>The page before; null for a root and outside of the tree.</summary>
    public CacheNode? Parent { get; private set; }

    public bool IsInTree => Parent is not null;

    /// <summary>The tokens whose KV the page holds, at most a page of them.</summary>
    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, _count);

    public int Page { get; } = page;

    /// <summary>Chained hash of the prefix that ends here; of no meaning for a page filled in part.</summary>
    public ulong Hash { get; private set; }

    public bool HasChildren => _childCount > 0;

    public static CacheNode Root(ulong hash) => new(-1, 0) { Hash = hash };

    /// <summary>The child that shares most leading tokens with <paramref name="tokens"/>, and how many; null if none shares the first.</summary>
    public (CacheNode? Child, int Common) Closest(ReadOnlySpan<int> tokens)
    {
        var index = IndexOf(tokens);
        var (best, common) = ((CacheNode?)null, 0);
        for (var neighbour = Math.Max(0, index - 1); neighbour <= index && neighbour < _childCount; neighbour++)
        {
            var shared = _children[neighbour].Tokens.CommonPrefixLength(tokens);
            if (shared > common)
            {
                (best, common) = (_children[neighbour], shared);
            }
        }

        return (best, common);
    }

    /// <summary>Puts a node that is not in the tree below this one. It has no children: who is taken out had none left.</summary>
    public void Add(CacheNode child, ReadOnlySpan<int> tokens, ulong hash)
    {
        tokens.CopyTo(child._tokens);
        (child._count, child.Parent, child.Hash) = (tokens.Length, this, hash);
        if (_childCount == _children.Length)
        {
            Array.Resize(ref _children, Math.Max(1, 2 * _childCount));
        }

        var index = IndexOf(tokens);
        _children.AsSpan(index, _childCount - index).CopyTo(_children.AsSpan(index + 1));
        _children[index] = child;
        _childCount++;
    }

    /// <summary>Takes the node, which has no children, out of the tree.</summary>
    public void Leave()
    {
        var siblings = Parent!._children;
        var (index, last) = (Parent.IndexOf(Tokens), --Parent._childCount);
        siblings.AsSpan(index + 1, last - index).CopyTo(siblings.AsSpan(index));
        siblings[last] = null!;
        Parent = null;
    }

    /// <summary>All nodes below, each after its parent.</summary>
    public IEnumerable<CacheNode> Descendants()
    {
        var pending = new Stack<CacheNode>(_children.Take(_childCount));
        while (pending.TryPop(out var node))
        {
            yield return node;
            foreach (var child in node._children.Take(node._childCount))
            {
                pending.Push(child);
            }
        }
    }

    /// <summary>The index of the child with exactly these tokens, or where it would stand.</summary>
    private int IndexOf(ReadOnlySpan<int> tokens)
    {
        var (low, high) = (0, _childCount);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_children[middle].Tokens.SequenceCompareTo(tokens) < 0)
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
