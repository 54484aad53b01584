namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>Pools in shards beside whole ones, by the definition of a shard: which heads it has.</summary>
internal static class ShardedPools
{
    /// <summary>A pool in one piece with the same KV; the caller's.</summary>
    public static TestPool Whole(this KvPool sharded)
    {
        var whole = new TestPool(sharded.Layout, sharded.Pages);
        Copy(whole, sharded, toWhole: true);
        return whole;
    }

    /// <summary>Gives the shards the KV of a whole pool of as many pages.</summary>
    public static SharedKvPool FilledFrom(this SharedKvPool sharded, KvPool whole)
    {
        Copy(whole, sharded, toWhole: false);
        return sharded;
    }

    private static void Copy(KvPool whole, KvPool sharded, bool toWhole)
    {
        var layout = whole.Layout;
        var shardHeads = layout.KvHeads / sharded.Shards;
        var headBytes = layout.PageTokens * layout.HeadBytes;
        for (var layer = 0; layer < layout.Layers; layer++)
        {
            for (var page = 0; page < whole.Pages; page++)
            {
                for (var head = 0; head < 2 * layout.KvHeads; head++)
                {
                    var (plane, headOfPlane) = Math.DivRem(head, layout.KvHeads);
                    var (shard, local) = Math.DivRem(headOfPlane, shardHeads);
                    var inWhole = whole.Page(layer, page).Slice(head * headBytes, headBytes);
                    var inShard = sharded.Shard(shard).Page(layer, page).Slice(((plane * shardHeads) + local) * headBytes, headBytes);
                    (toWhole ? inShard : inWhole).CopyTo(toWhole ? inWhole : inShard);
                }
            }
        }
    }
}
