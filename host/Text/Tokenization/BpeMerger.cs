using System.Buffers;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// Byte-pair merging (Sennrich et al. 2016): always the pair of lowest rank, of equal ones the leftmost. Short words are scanned
/// again after each merge; long ones go through a heap and a linked list, in O(n log n).
/// </summary>
internal static class BpeMerger
{
    /// <summary>Up to this many symbols scanning beats the heap.</summary>
    public const int MaxScanned = 64;

    /// <summary>Merges in place and returns how many symbols are left.</summary>
    public static int Merge(Span<int> symbols, PairTable pairs) =>
        symbols.Length <= MaxScanned ? MergeByScanning(symbols, pairs) : MergeByHeap(symbols, pairs);

    public static int MergeByScanning(Span<int> symbols, PairTable pairs)
    {
        var count = symbols.Length;
        Span<int> ranks = stackalloc int[MaxScanned];
        for (var i = 0; i + 1 < count; i++)
        {
            ranks[i] = pairs.Rank(symbols[i], symbols[i + 1]);
        }

        while (count > 1)
        {
            var best = 0;
            for (var i = 1; i + 1 < count; i++)
            {
                best = ranks[i] < ranks[best] ? i : best;
            }

            if (ranks[best] == PairTable.NoRank)
            {
                break;
            }

            symbols[best] = pairs.Merged(symbols[best], symbols[best + 1]);
            symbols[(best + 2)..count].CopyTo(symbols[(best + 1)..]);
            ranks[(best + 1)..(count - 1)].CopyTo(ranks[best..]);
            count--;
            if (best > 0)
            {
                ranks[best - 1] = pairs.Rank(symbols[best - 1], symbols[best]);
            }

            if (best + 1 < count)
            {
                ranks[best] = pairs.Rank(symbols[best], symbols[best + 1]);
            }
        }

        return count;
    }

    public static int MergeByHeap(Span<int> symbols, PairTable pairs)
    {
        var length = symbols.Length;
        var next = ArrayPool<int>.Shared.Rent(length);
        var previous = ArrayPool<int>.Shared.Rent(length);
        var ranks = ArrayPool<int>.Shared.Rent(length);
        var heap = new MinHeap(length);
        for (var i = 0; i < length; i++)
        {
            next[i] = i + 1;
            previous[i] = i - 1;
            ranks[i] = i + 1 < length ? pairs.Rank(symbols[i], symbols[i + 1]) : PairTable.NoRank;
            if (ranks[i] != PairTable.NoRank)
            {
                heap.Append(Entry(ranks[i], i));
            }
        }

        heap.Order();
        while (heap.TryPop(out var entry))
        {
            var (rank, at) = ((int)(entry >> 32), (int)(uint)entry);
            if (ranks[at] != rank)
            {
                continue; // the pair has changed since
            }

            var second = next[at];
            symbols[at] = pairs.Merged(symbols[at], symbols[second]);
            next[at] = next[second];
            ranks[second] = PairTable.NoRank;
            if (next[at] < length)
            {
                previous[next[at]] = at;
            }

            Rank(at, symbols);
            if (previous[at] >= 0)
            {
                Rank(previous[at], symbols);
            }
        }

        var count = 0;
        for (var i = 0; i < length; i = next[i])
        {
            symbols[count++] = symbols[i];
        }

        ArrayPool<int>.Shared.Return(next);
        ArrayPool<int>.Shared.Return(previous);
        ArrayPool<int>.Shared.Return(ranks);
        return count;

        void Rank(int at, Span<int> symbols)
        {
            ranks[at] = next[at] < length ? pairs.Rank(symbols[at], symbols[next[at]]) : PairTable.NoRank;
            if (ranks[at] != PairTable.NoRank)
            {
                heap.Push(Entry(ranks[at], at));
            }
        }
    }

    private static ulong Entry(int rank, int at) => ((ulong)(uint)rank << 32) | (uint)at;

    /// <summary>Binary heap of rank and position packed in one number.</summary>
    private sealed class MinHeap(int capacity)
    {
        private ulong[] items = new ulong[capacity];
        private int count;

        /// <summary>Adds without keeping order; <see cref="Order"/> must follow.</summary>
        public void Append(ulong item) => items[count++] = item;

        public void Order()
        {
            for (var i = (count / 2) - 1; i >= 0; i--)
            {
                Sink(i);
            }
        }

        public void Push(ulong item)
        {
            if (count == items.Length)
            {
                Array.Resize(ref items, count * 2);
            }

            var at = count++;
            for (; at > 0 && items[(at - 1) / 2] > item; at = (at - 1) / 2)
            {
                items[at] = items[(at - 1) / 2];
            }

            items[at] = item;
        }

        public bool TryPop(out ulong item)
        {
            if (count == 0)
            {
                item = 0;
                return false;
            }

            item = items[0];
            items[0] = items[--count];
            Sink(0);
            return true;
        }

        private void Sink(int at)
        {
            var item = items[at];
            for (var child = (2 * at) + 1; child < count; child = (2 * at) + 1)
            {
                if (child + 1 < count && items[child + 1] < items[child])
                {
                    child++;
                }

                if (items[child] >= item)
                {
                    break;
                }

                items[at] = items[child];
                at = child;
            }

            items[at] = item;
        }
    }
}
