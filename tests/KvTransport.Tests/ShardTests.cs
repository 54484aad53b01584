using ScriptedServe.KvTransport.Tests.Support;

namespace ScriptedServe.KvTransport.Tests;

public class ShardTests
{
    private static readonly KvLayout s_layout = new("sharded", Layers: 2, KvHeads: 12, HeadDim: 8, PageTokens: 4, KvDataType.BFloat16);

    /// <summary>Pages are cut alike, finer, coarser, and across each other.</summary>
    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task Pools_of_any_numbers_of_shards_exchange_the_same_kv(string transport)
    {
        foreach (var (from, to) in new[] { (1, 2), (2, 1), (2, 4), (4, 2), (2, 3), (4, 6), (3, 3), (12, 1), (1, 12) })
        {
            await TransferAsync(transport, from, to, new Random((100 * from) + to));
        }
    }

    [Fact]
    public void Copying_a_page_copies_it_in_every_shard()
    {
        using var whole = new TestPool(s_layout, 3).Filled(3);
        using var sharded = SharedKvPool.Create(s_layout, 3, epoch: 1, shards: 4).FilledFrom(whole);
        whole.CopyPage(2, 0);
        sharded.CopyPage(2, 0);
        using var after = sharded.Whole();
        Assert.Equal(whole.Snapshot(), after.Snapshot());
    }

    [Fact]
    public void A_pool_in_shards_has_no_page_in_one_place()
    {
        using var pool = SharedKvPool.Create(s_layout, 3, epoch: 1, shards: 4);
        Assert.Equal(3, pool.Shard(0).Layout.KvHeads);
        Assert.Equal(3, pool.Shard(3).Pages);
        Assert.Contains("4 shards", Assert.Throws<InvalidOperationException>(() => { _ = pool.Page(0, 0); }).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Heads_that_cannot_be_divided_are_refused()
    {
        var error = Assert.Throws<ArgumentException>(() => SharedKvPool.Create(s_layout, 3, epoch: 1, shards: 5));
        Assert.Contains("12 key and value heads cannot be divided among 5 shards", error.Message, StringComparison.Ordinal);
    }

    private static async Task TransferAsync(string transport, int fromShards, int toShards, Random random)
    {
        using var before = new TestPool(s_layout, 12).Filled(random.Next());
        var receiving = SharedKvPool.Create(s_layout, 12, epoch: 7, shards: toShards).FilledFrom(before);
        using var whole = new TestPool(s_layout, 10).Filled(random.Next());
        using var local = SharedKvPool.Create(s_layout, 10, epoch: 8, shards: fromShards).FilledFrom(whole);
        await using var rig = new Rig(pool: receiving, filled: false);

        var (begin, end) = (random.Next(6), random.Next(9, 30));
        int[] Shuffled(int count) => [.. Waiting.Range(10).OrderBy(_ => random.Next()).Take(count)];
        var to = Shuffled(((end - 1) / 4) - (begin / 4) + 1);
        var table = Shuffled(((end - 1) / 4) + 1);
        var grant = rig.Endpoint.Grant("r", to, begin, end);
        await using (var session = await rig.Sender(local, transport).OpenAsync(grant.Address, default).Soon())
        {
            Assert.Equal(transport, session.Transport);
            for (var layer = 0; layer < s_layout.Layers; layer++)
            {
                session.Send(layer, table, begin, end);
            }

            await session.CommitAsync(begin, end, default).Soon();
            Assert.Equal(2L * (end - begin) * s_layout.Layers * s_layout.KvHeads * s_layout.HeadBytes, session.BytesSent);
        }

        using var after = receiving.Whole();
        Assert.Equal(Pools.Expected(before, before.Snapshot(), to, begin, whole, table, begin, end), after.Snapshot());
        await grant.RevokeAsync().Soon();
    }
}
