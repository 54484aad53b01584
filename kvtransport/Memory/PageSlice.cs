using System.Numerics;

namespace ScriptedServe.KvTransport.Memory;

/// <summary>
/// The part of one page that a range of token positions covers. Over a stream a slice travels as the keys of each head and then the values of each head, which
/// for a whole page of a pool in one shard is the page as it lies: how pools are cut into shards does not show on the way.
/// </summary>
/// <param name="Slot">The first token's place in the page.</param>
/// <param name="Count">Tokens, at least 1.</param>
internal readonly record struct PageSlice(KvLayout Layout, int Slot, int Count)
{
    public bool IsWholePage => Count == Layout.PageTokens;

    /// <summary>Pages that [begin, end) touches.</summary>
    public static int PagesOf(KvLayout layout, int begin, int end) => end <= begin ? 0 : ((end - 1) / layout.PageTokens) - (begin / layout.PageTokens) + 1;

    /// <summary>Bytes of one layer of [begin, end).</summary>
    public static long BytesOf(KvLayout layout, int begin, int end) => (long)(end - begin) * 2 * layout.KvHeads * layout.HeadBytes;

    /// <summary>What [begin, end) covers of the <paramref name="index"/>th page it touches.</summary>
    public static PageSlice Of(KvLayout layout, int begin, int end, int index)
    {
        var pageStart = ((begin / layout.PageTokens) + index) * layout.PageTokens;
        var first = Math.Max(begin, pageStart);
        return new PageSlice(layout, first - pageStart, Math.Min(end - first, layout.PageTokens - (first - pageStart)));
    }

    /// <summary>The runs in which a pool has the slice.</summary>
    public PageRuns RunsIn(KvPool pool) => RunsIn(pool, pool);

    /// <summary>Runs that are contiguous in both pools, whatever shards each is cut into.</summary>
    public PageRuns RunsIn(KvPool pool, KvPool other) => new(
        this, IsWholePage ? (int)BigInteger.GreatestCommonDivisor(Layout.KvHeads / pool.Shards, Layout.KvHeads / other.Shards) : 1);
}

/// <summary>A slice as runs of contiguous bytes, in the order in which they travel.</summary>
/// <param name="Heads">Heads of a run: keys or values of neighbours are contiguous in a whole page.</param>
internal readonly record struct PageRuns(PageSlice Slice, int Heads)
{
    private KvLayout Layout => Slice.Layout;

    /// <summary>The page as it lies, keys and values.</summary>
    private bool IsOneRun => Slice.IsWholePage && Heads == Layout.KvHeads;

    public int Count => IsOneRun ? 1 : 2 * Layout.KvHeads / Heads;

    /// <summary>Bytes of each run.</summary>
    public int Bytes => IsOneRun ? Layout.PageBytes : Heads * Slice.Count * Layout.HeadBytes;

    /// <summary>Where in a page of a pool of one shard a run begins.</summary>
    public long OffsetOf(int run)
    {
        var (plane, head) = Math.DivRem(run * Heads, Layout.KvHeads);
        return (long)((((plane * Layout.KvHeads) + head) * Layout.PageTokens) + Slice.Slot) * Layout.HeadBytes;
    }

    /// <summary>Where a pool has a run.</summary>
    public unsafe byte* Find(KvPool pool, int layer, int page, int run)
    {
        var shardHeads = Layout.KvHeads / pool.Shards;
        var (plane, head) = Math.DivRem(run * Heads, Layout.KvHeads);
        var (shard, headInShard) = Math.DivRem(head, shardHeads);
        var slots = ((((plane * shardHeads) + headInShard) * Layout.PageTokens) + Slice.Slot);
        return pool.Shard(shard).PagePointer(layer, page) + ((long)slots * Layout.HeadBytes);
    }

    /// <summary>Copies the runs, which must be contiguous in both pools, from a page to another.</summary>
    public unsafe void Copy(KvPool from, int fromLayer, int fromPage, KvPool to, int toLayer, int toPage)
    {
        for (var run = 0; run < Count; run++)
        {
            Buffer.MemoryCopy(Find(from, fromLayer, fromPage, run), Find(to, toLayer, toPage, run), Bytes, Bytes);
        }
    }
}
