using System.Numerics;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>The merges of a BPE model: pair of token ids -> rank and merged id. Open addressing, filled once, then only read.</summary>
internal sealed class PairTable
{
    /// <summary>The rank of a pair that does not merge.</summary>
    public const int NoRank = int.MaxValue;

    private const ulong Vacant = ulong.MaxValue;

    private readonly ulong[] keys;
    private readonly (int Rank, int Merged)[] values;
    private readonly int shift;

    public PairTable(int count)
    {
        var size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, count * 2));
        keys = new ulong[size];
        values = new (int, int)[size];
        shift = 64 - BitOperations.Log2((uint)size);
        Array.Fill(keys, Vacant);
    }

    /// <summary>Adds a merge; of equal pairs the last one counts.</summary>
    public void Add(int left, int right, int rank, int merged)
    {
        var slot = Slot(Key(left, right));
        keys[slot] = Key(left, right);
        values[slot] = (rank, merged);
    }

    /// <summary><see cref="NoRank"/> if the pair does not merge.</summary>
    public int Rank(int left, int right)
    {
        var slot = Slot(Key(left, right));
        return keys[slot] == Vacant ? NoRank : values[slot].Rank;
    }

    /// <summary>The token a pair that merges becomes.</summary>
    public int Merged(int left, int right) => values[Slot(Key(left, right))].Merged;

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    private int Slot(ulong key)
    {
        var slot = (int)((key * 0x9E3779B97F4A7C15ul) >> shift);
        while (keys[slot] != key && keys[slot] != Vacant)
        {
            slot = (slot + 1) & (keys.Length - 1);
        }

        return slot;
    }
}
