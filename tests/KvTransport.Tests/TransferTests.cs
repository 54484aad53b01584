using ScriptedServe.KvTransport.Tests.Support;

namespace ScriptedServe.KvTransport.Tests;

public class TransferTests
{
    [Theory]
    [InlineData("shm", false)]
    [InlineData("tcp", false)]
    [InlineData("shm", true)]
    [InlineData("tcp", true)]
    public async Task Any_range_split_among_senders_in_any_order_arrives_exactly_and_touches_nothing_else(string transport, bool large)
    {
        var layout = large ? Pools.Large : Pools.Small;
        for (var seed = 0; seed < (large ? 10 : 60); seed++)
        {
            await TransferAsync(transport, layout, new Random(seed));
        }
    }

    [Fact]
    public async Task A_range_counts_only_when_committed_and_arrival_is_told_before_the_sender()
    {
        await using var rig = new Rig();
        using var local = new TestPool(Pools.Small, 4).Filled(1);
        var told = false;
        var grant = rig.Endpoint.Grant("r", [5, 6], 0, 16, _ => told = true);
        await using var session = await rig.Sender(local, "shm").OpenAsync(grant.Address, default).Soon();
        Assert.Equal(1, grant.Sessions);
        for (var layer = 0; layer < Pools.Small.Layers; layer++)
        {
            session.Send(layer, [0, 1], 0, 16);
        }

        await session.CommitAsync(0, 12, default).Soon();
        Assert.Equal(12, grant.ArrivedTokens);
        Assert.False(told || grant.HasArrived || grant.Arrival.IsCompleted);
        await session.CommitAsync(8, 16, default).Soon();
        Assert.True(told && grant.HasArrived);
        await grant.Arrival.Soon();
    }

    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task What_has_arrived_is_never_written_again(string transport)
    {
        await using var rig = new Rig();
        using var first = new TestPool(Pools.Small, 2).Filled(1);
        using var second = new TestPool(Pools.Small, 2).Filled(2);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        await using var late = await rig.Sender(second, transport).OpenAsync(grant.Address, default).Soon();
        await SendAllAsync(rig.Sender(first, transport), grant, [0, 1]);
        var arrived = rig.Pool.Snapshot();
        for (var layer = 0; layer < Pools.Small.Layers; layer++)
        {
            late.Send(layer, [0, 1], 0, 16);
        }

        await late.CommitAsync(0, 16, default).Soon();
        Assert.Equal(arrived, rig.Pool.Snapshot());
    }

    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task A_commit_of_what_was_not_sent_in_every_layer_is_refused(string transport)
    {
        await using var rig = new Rig();
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        await using var session = await rig.Sender(local, transport).OpenAsync(grant.Address, default).Soon();
        session.Send(0, [0, 1], 0, 16);
        session.Send(1, [0, 1], 0, 15);
        session.Send(2, [0, 1], 0, 16);
        var fault = await Assert.ThrowsAsync<InvalidOperationException>(() => session.CommitAsync(0, 16, default));
        Assert.Contains("layer 1", fault.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => session.Send(3, [0, 1], 0, 16));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.Send(0, [0, 2], 0, 16));
        Assert.Throws<ArgumentException>(() => session.Send(0, [0], 0, 16));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.Send(0, [0, 1, 0], 0, 17));
        Assert.Equal(0, grant.ArrivedTokens);
    }

    [Fact]
    public async Task An_empty_range_has_arrived_at_once()
    {
        await using var rig = new Rig();
        var grant = rig.Endpoint.Grant("r", [], 24, 24);
        await grant.Arrival.Soon();
        Assert.True(grant.HasArrived);
        await grant.RevokeAsync().Soon();
    }

    [Fact]
    public async Task A_pool_that_is_not_shared_is_reached_over_tcp()
    {
        await using var rig = new Rig(pool: new TestPool(Pools.Small, 8));
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        Assert.Equal("tcp", await SendAllAsync(rig.Sender(local, "shm"), grant, [0, 1]));
        Assert.Equal(local.Page(1, 1), rig.Pool.Page(1, 4));
    }

    [Fact]
    public void Copying_a_page_copies_every_layer_and_nothing_else()
    {
        using var pool = SharedKvPool.Create(Pools.Small, 3, 1).Filled(5);
        var (kept, from) = (pool.Page(1, 2).ToArray(), pool.Page(2, 0).ToArray());
        pool.CopyPage(0, 1);
        Assert.Equal(from, pool.Page(2, 1));
        Assert.Equal(pool.Page(0, 0), pool.Page(0, 1));
        Assert.Equal(kept, pool.Page(1, 2));
    }

    internal static async Task<string> SendAllAsync(KvSender sender, IKvGrant grant, int[] pages)
    {
        await using var session = await sender.OpenAsync(grant.Address, default).Soon();
        for (var layer = 0; layer < Pools.Small.Layers; layer++)
        {
            session.Send(layer, pages, grant.Begin, grant.End);
        }

        await session.CommitAsync(grant.Begin, grant.End, default).Soon();
        return session.Transport;
    }

    private static async Task TransferAsync(string transport, KvLayout layout, Random random)
    {
        await using var rig = new Rig(layout, pages: 24);
        var (begin, length) = (random.Next(3 * layout.PageTokens), random.Next(1, 12 * layout.PageTokens));
        var end = begin + length;
        var tokens = layout.PageTokens;
        int[] Shuffled(int count, int of) => [.. Waiting.Range(of).OrderBy(_ => random.Next()).Take(count)];
        var to = Shuffled(((end - 1) / tokens) - (begin / tokens) + 1, rig.Pool.Pages);
        var grant = rig.Endpoint.Grant("r", to, begin, end);
        var expected = rig.Pool.Snapshot();
        var bytes = 0L;
        int[] cuts = [begin, .. Enumerable.Range(0, random.Next(3)).Select(_ => random.Next(begin, end + 1)).Order(), end];
        var sends = new List<Func<Task>>();
        for (var part = 0; part + 1 < cuts.Length; part++)
        {
            var (from, until) = (cuts[part], cuts[part + 1]);
            var local = new TestPool(layout, 20).Filled(part);
            var table = Shuffled(((end - 1) / tokens) + 1, local.Pages);
            var layers = Shuffled(layout.Layers, layout.Layers);
            expected = Pools.Expected(rig.Pool, expected, to, begin, local, table, from, until);
            sends.Add(async () =>
            {
                using (local)
                {
                    await using var session = await rig.Sender(local, transport).OpenAsync(grant.Address, default);
                    Assert.Equal(transport, session.Transport);
                    var middle = (from + until) / 2;
                    foreach (var layer in layers)
                    {
                        session.Send(layer, table, from, middle);
                        session.Send(layer, table, middle, until);
                    }

                    await session.CommitAsync(from, until, default);
                    Interlocked.Add(ref bytes, session.BytesSent);
                }
            });
        }

        await Task.WhenAll(sends.OrderBy(_ => random.Next()).Select(send => send())).Soon();
        await grant.Arrival.Soon();
        Assert.Equal(expected, rig.Pool.Snapshot());
        Assert.Equal(2L * length * layout.Layers * layout.KvHeads * layout.HeadBytes, bytes);
        await grant.RevokeAsync().Soon();
    }
}
