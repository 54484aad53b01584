using System.Numerics;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Tokens by their characters. The edges are one open-addressed table, filled once, then only read.</summary>
internal sealed class TokenTrie
{
    public const int Root = 0;

    private const long Vacant = -1;

    private readonly List<int> tokenIds = [-1];
    private long[] edges = new long[1 << 10];
    private int[] targets = new int[1 << 10];

    public TokenTrie(IReadOnlyDictionary<string, int> tokens)
    {
        Array.Fill(edges, Vacant);
        foreach (var (token, id) in tokens.Where(item => item.Key.Length > 0))
        {
            var node = Root;
            foreach (var character in token)
            {
                node = TryNext(node, character, out var next) ? next : Add(node, character);
            }

            tokenIds[node] = id;
        }
    }

    public bool TryNext(int node, char character, out int next)
    {
        var slot = Slot(Edge(node, character));
        next = targets[slot];
        return edges[slot] != Vacant;
    }

    /// <summary>The token that ends at the node, or -1.</summary>
    public int TokenAt(int node) => tokenIds[node];

    private static long Edge(int node, char character) => ((long)node << 16) | character;

    private int Add(int node, char character)
    {
        if (tokenIds.Count * 2 > edges.Length)
        {
            Grow();
        }

        var next = tokenIds.Count;
        tokenIds.Add(-1);
        Put(Edge(node, character), next);
        return next;
    }

    private void Grow()
    {
        var (oldEdges, oldTargets) = (edges, targets);
        edges = new long[oldEdges.Length * 2];
        targets = new int[edges.Length];
        Array.Fill(edges, Vacant);
        for (var i = 0; i < oldEdges.Length; i++)
        {
            if (oldEdges[i] != Vacant)
            {
                Put(oldEdges[i], oldTargets[i]);
            }
        }
    }

    private void Put(long edge, int target)
    {
        var slot = Slot(edge);
        (edges[slot], targets[slot]) = (edge, target);
    }

    private int Slot(long edge)
    {
        var slot = (int)(((ulong)edge * 0x9E3779B97F4A7C15ul) >> (64 - BitOperations.Log2((uint)edges.Length)));
        while (edges[slot] != edge && edges[slot] != Vacant)
        {
            slot = (slot + 1) & (edges.Length - 1);
        }

        return slot;
    }
}
