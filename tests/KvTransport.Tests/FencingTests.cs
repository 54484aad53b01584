using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Tests.Support;

namespace ScriptedServe.KvTransport.Tests;

public class FencingTests
{
    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task A_late_sender_cannot_write_into_reused_pages(string transport)
    {
        await using var rig = new Rig(Pools.Large, pages: 8);
        using var local = new TestPool(Pools.Large, 2).Filled(1);
        using var other = new TestPool(Pools.Large, 2).Filled(2);
        using var held = new Hold(local, layer: 1, page: 1);
        var grant = rig.Endpoint.Grant("first", [3, 4], 0, 64);
        await using var late = await rig.Sender(local, transport).OpenAsync(grant.Address, default).Soon();
        late.Send(0, [0, 1], 0, 64);
        late.Send(1, [0, 1], 0, 64);
        await held.Reached.Soon();
        var table = ((SharedKvPool)rig.Pool).Grants;
        await Waiting.Until(() => table.Writers(0) == 1, "the sender is within a write");

        var revoke = grant.RevokeAsync();
        if (transport == "shm")
        {
            // It is within a copy that nobody can stop, so the pages are not ours yet.
            for (var turn = 0; turn < 1000; turn++)
            {
                await Task.Yield();
                Assert.False(revoke.IsCompleted);
            }

            held.Release();
        }

        // Over a stream nothing of the sender is needed: it still holds the rest of its layer back.
        await revoke.Soon();
        Assert.Equal(0, table.Writers(0));
        var reused = rig.Endpoint.Grant("second", [3, 4], 0, 64);
        await using (var session = await rig.Sender(other, transport).OpenAsync(reused.Address, default).Soon())
        {
            session.Send(0, [0, 1], 0, 64);
            session.Send(1, [0, 1], 0, 32);
            await session.CommitAsync(0, 32, default).Soon();
            var reusedPages = rig.Pool.Snapshot();
            held.Release();
            late.Send(0, [0, 1], 0, 64);
            late.Send(1, [0, 1], 0, 64);
            var fault = await Assert.ThrowsAsync<KvTransportException>(() => late.CommitAsync(0, 64, default).Soon());
            Assert.Equal(KvFault.Ended, fault.Fault);
            Assert.Equal(reusedPages, rig.Pool.Snapshot());
            session.Send(1, [0, 1], 32, 64);
            await session.CommitAsync(0, 64, default).Soon();
        }

        Assert.Equal(other.Page(0, 0), rig.Pool.Page(0, 3));
        Assert.Equal(other.Page(1, 1), rig.Pool.Page(1, 4));
        var again = await Assert.ThrowsAsync<KvTransportException>(() => rig.Sender(local, transport).OpenAsync(grant.Address, default).Soon());
        Assert.Equal(KvFault.Ended, again.Fault);
        Assert.True(grant.Arrival.IsCanceled);
    }

    [Fact]
    public void Nobody_writes_after_a_closed_slot_was_seen_empty()
    {
        // The fence alone, as fast as threads can: whoever is let in after the revoker saw the slot empty would spoil the mark.
        var table = GrantTable.InPrivateMemory(slots: 1, cells: 2);
        var page = new long[1];
        var stop = false;
        var entered = new long[2];
        var generation = 1UL;
        var writers = Enumerable.Range(0, 2).Select(cell => new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                var mine = Volatile.Read(ref generation);
                if (table.Enter(cell, 0, mine) == GrantState.Open)
                {
                    Volatile.Write(ref page[0], cell + 1);
                    entered[cell]++;
                }

                table.Leave(cell, 0, mine);
            }
        })).ToArray();
        Array.ForEach(writers, thread => thread.Start());
        for (var round = 0; round < 30_000; round++)
        {
            table.Set(0, generation, GrantState.Open);
            Thread.SpinWait(round % 50);
            table.Set(0, generation, GrantState.Closed);
            while (table.Writers(0) > 0)
            {
                Thread.SpinWait(1);
            }

            Volatile.Write(ref page[0], -1);
            Thread.SpinWait(20);
            Assert.Equal(-1, Volatile.Read(ref page[0]));
            Volatile.Write(ref generation, generation + 1);
        }

        Volatile.Write(ref stop, true);
        Array.ForEach(writers, thread => thread.Join());
        Assert.True(entered[0] + entered[1] > 1000, $"the writers were let in {entered[0]} and {entered[1]} times");
    }

    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task A_session_disposed_midway_leaves_nothing_behind_and_another_can_finish(string transport)
    {
        await using var rig = new Rig(Pools.Large, pages: 8);
        using var local = new TestPool(Pools.Large, 2).Filled(1);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 64);
        var sender = rig.Sender(local, transport);
        using (var held = new Hold(local, layer: 0, page: 1))
        {
            var session = await sender.OpenAsync(grant.Address, default).Soon();
            session.Send(0, [0, 1], 0, 64);
            session.Send(1, [0, 1], 0, 64);
            var commit = session.CommitAsync(0, 64, default);
            await held.Reached.Soon();
            var disposal = session.DisposeAsync().AsTask();
            Assert.False(disposal.IsCompleted);
            held.Release();
            await disposal.Soon();
            Assert.Equal(KvFault.Disconnected, (await Assert.ThrowsAsync<KvTransportException>(() => commit.Soon())).Fault);
        }

        await Waiting.Until(() => grant.Sessions == 0 && rig.Endpoint.Sessions == 0 && rig.Endpoint.Connections == 0, "the receiver has let go");
        Assert.Equal(0, grant.ArrivedTokens);
        await using (var session = await sender.OpenAsync(grant.Address, default).Soon())
        {
            session.Send(0, [0, 1], 0, 64);
            session.Send(1, [0, 1], 0, 64);
            await session.CommitAsync(0, 64, default).Soon();
        }

        Assert.Equal(local.Page(1, 1), rig.Pool.Page(1, 4));
        Assert.Equal(0, rig.Endpoint.Sessions);
    }

    [Fact]
    public async Task Disposing_the_endpoint_ends_its_grants_even_under_a_writer_that_does_not_leave()
    {
        await using var rig = new Rig(Pools.Large, pages: 8);
        using var local = new TestPool(Pools.Large, 2).Filled(1);
        using var held = new Hold(local, layer: 0, page: 0);
        var (written, idle) = (rig.Endpoint.Grant("written", [3, 4], 0, 64), rig.Endpoint.Grant("idle", [5], 0, 32));
        var session = await rig.Sender(local, "shm").OpenAsync(written.Address, default).Soon();
        session.Send(0, [0, 1], 0, 64);
        await held.Reached.Soon();
        await rig.Endpoint.DisposeAsync().AsTask().Soon();
        Assert.True(idle.Arrival.IsCanceled);
        await idle.RevokeAsync().Soon();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => written.RevokeAsync().Soon());
        held.Release();
        await session.DisposeAsync().AsTask().Soon();
    }

    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task A_commit_that_waits_for_a_stuck_writer_ends_with_the_grant(string transport)
    {
        await using var rig = new Rig(Pools.Large, pages: 8);
        using var slow = new TestPool(Pools.Large, 2).Filled(1);
        using var local = new TestPool(Pools.Large, 2).Filled(1);
        var held = new Hold(slow, layer: 0, page: 0);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 64);
        var stuck = await rig.Sender(slow, "shm").OpenAsync(grant.Address, default).Soon();
        stuck.Send(0, [0, 1], 0, 64);
        await held.Reached.Soon();
        await using (var session = await rig.Sender(local, transport).OpenAsync(grant.Address, default).Soon())
        {
            session.Send(0, [0, 1], 0, 64);
            session.Send(1, [0, 1], 0, 64);
            var commit = session.CommitAsync(0, 64, default);
            await Waiting.Until(() => grant.ArrivedTokens == 64, "all is there but for the stuck writer to leave");
            Assert.False(commit.IsCompleted || grant.HasArrived);

            var revoke = grant.RevokeAsync();
            Assert.Equal(KvFault.Ended, (await Assert.ThrowsAsync<KvTransportException>(() => commit.Soon())).Fault);
            Assert.False(revoke.IsCompleted);
            held.Release();
            await revoke.Soon();
        }

        await stuck.DisposeAsync().AsTask().Soon();
        held.Dispose();
    }

    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task What_a_sender_writes_shows_as_use_and_a_session_that_is_only_open_does_not(string transport)
    {
        await using var rig = new Rig();
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        var session = await rig.Sender(local, transport).OpenAsync(grant.Address, default).Soon();
        (long, long) Use() => (grant.LastUsed, grant.SharedWrites);
        var opened = Use();
        rig.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(opened, Use());

        session.Send(0, [0, 1], 0, 16);
        await Waiting.Until(() => Use() != opened, "the write shows");
        rig.Time.Advance(TimeSpan.FromSeconds(1));
        var written = Use();
        await session.DisposeAsync().AsTask().Soon();
        await Waiting.Until(() => grant.Sessions == 0, "the session is over");
        Assert.Equal(written, Use());
    }

    /// <summary>Holds a sender at one page of its own pool: within a copy (shm), or within a message (tcp).</summary>
    private sealed class Hold : IDisposable
    {
        private readonly TestPool _pool;
        private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly ManualResetEventSlim _released = new();

        public Hold(TestPool pool, int layer, int page)
        {
            _pool = pool;
            pool.Asked = (askedLayer, askedPage) =>
            {
                if (askedLayer == layer && askedPage == page && !_released.IsSet)
                {
                    _reached.TrySetResult();
                    _released.Wait();
                }
            };
        }

        public Task Reached => _reached.Task;

        public void Release() => _released.Set();

        public void Dispose()
        {
            _released.Set();
            _pool.Asked = null;
        }
    }
}
