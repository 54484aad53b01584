using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Fakes;

internal static class KvPools
{
    /// <summary>
    /// The keys of a head at a position, whichever shard has them; its values are those of "head" kvHeads + head.
    /// </summary>
    public static Span<byte> Head(this KvPool pool, int layer, int page, int position, int head)
    {
        var layout = pool.Layout;
        var (plane, headOfPlane) = Math.DivRem(head, layout.KvHeads);
        var shardHeads = layout.KvHeads / pool.Shards;
        var (shard, local) = Math.DivRem(headOfPlane, shardHeads);
        var slot = (((plane * shardHeads) + local) * layout.PageTokens) + (position % layout.PageTokens);
        return pool.Shard(shard).Page(layer, page).Slice(slot * layout.HeadBytes, layout.HeadBytes);
    }
}
