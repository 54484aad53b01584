using System.Diagnostics;
using System.Net.Sockets;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Receiving;
using ScriptedServe.KvTransport.Sending;
using ScriptedServe.KvTransport.Tests.Support;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Tests;

/// <summary>Pools of two processes on one device, each of which can open the other's memory.</summary>
public class DeviceShareTests
{
    private readonly SharedDevice _device = new();

    [Fact]
    public async Task Any_range_arrives_exactly_from_device_to_device_and_touches_nothing_else()
    {
        for (var seed = 0; seed < 40; seed++)
        {
            var random = new Random(seed);
            var layout = seed % 2 == 0 ? Pools.Small : Pools.Large;
            using var source = _device.NewPool(layout, 20);
            _ = source.Contents.Filled(seed);
            var target = _device.NewPool(layout, 24);
            _ = target.Contents.Filled(99);
            await using var rig = new Rig(layout, pool: target, filled: false);
            var (begin, length, tokens) = (random.Next(3 * layout.PageTokens), random.Next(1, 12 * layout.PageTokens), layout.PageTokens);
            var end = begin + length;

            // In every third run, pages lie next to one another, as they do at first.
            int[] Some(int count, int of) => seed % 3 == 0 ? Waiting.Range(count) : [.. Waiting.Range(of).OrderBy(_ => random.Next()).Take(count)];
            var (to, table) = (Some(((end - 1) / tokens) - (begin / tokens) + 1, 24), Some(((end - 1) / tokens) + 1, 20));
            var expected = Pools.Expected(target.Contents, target.Contents.Snapshot(), to, begin, source.Contents, table, begin, end);
            var grant = rig.Endpoint.Grant("r", to, begin, end);
            var before = _device.Copies;
            await using (var session = await rig.Sender(source, "shm").OpenAsync(grant.Address, default).Soon())
            {
                Assert.Equal("ipc", session.Transport);
                for (var layer = 0; layer < layout.Layers; layer++)
                {
                    session.Send(layer, table, begin, end);
                }

                await session.CommitAsync(begin, end, default).Soon();
                Assert.Equal(PageSlice.BytesOf(layout, begin, end) * layout.Layers, session.BytesSent);
            }

            Assert.True(grant.HasArrived);
            Assert.Equal(expected, target.Contents.Snapshot());
            if (seed % 3 == 0 && begin % tokens == 0 && end % tokens == 0)
            {
                Assert.Equal(layout.Layers, _device.Copies - before);
            }

            await grant.RevokeAsync().Soon();
        }
    }

    [Fact]
    public async Task Whoever_does_not_see_the_device_sends_another_way_or_is_told_why_not()
    {
        using var source = _device.NewPool(Pools.Small, 4);
        _ = source.Contents.Filled(1);
        var target = _device.NewPool(Pools.Small, 4);
        await using var rig = new Rig(Pools.Small, pool: target, filled: false);
        using var onHost = new TestPool(Pools.Small, 4).Filled(1);
        _device.CanOpen = false;
        foreach (var (pool, transport) in ((KvPool, string)[])[(source, "shm"), (onHost, "shm"), (source, "tcp")])
        {
            _ = target.Contents.Filled(2);
            var grant = rig.Endpoint.Grant("r", [2], 0, 8);
            await SendAsync(rig.Sender(pool, transport), grant, "tcp");
            Assert.Equal(source.Contents.Page(1, 0), target.Contents.Page(1, 2));
            await grant.RevokeAsync().Soon();
        }

        var alone = new KvAddressCodec(Rig.Secret);
        var only = rig.Endpoint.Grant("only", [1], 0, 8);
        var address = alone.Encode(alone.Decode(only.Address.Span) with { Tcp = null });
        var fault = await Assert.ThrowsAsync<KvTransportException>(() => rig.Sender(source, "shm").OpenAsync(address, default).Soon());
        Assert.Equal(KvFault.Unreachable, fault.Fault);
        Assert.Contains("ipc: the device is not visible here", fault.Message, StringComparison.Ordinal);
        Assert.Equal(0, target.Openings);
        await only.RevokeAsync().Soon();
    }

    [Fact]
    public async Task A_layer_that_is_computed_is_not_held_up_by_one_that_is_not()
    {
        using var source = _device.NewPool(Pools.Small, 4);
        _ = source.Contents.Filled(1);
        var target = _device.NewPool(Pools.Small, 4);
        await using var rig = new Rig(Pools.Small, pool: target, filled: false);
        var layers = Pools.Small.Layers;
        for (var layer = 0; layer < layers; layer++)
        {
            source.Computing[layer] = new ManualResetEventSlim();
        }

        var grant = rig.Endpoint.Grant("r", [2], 0, 8);
        var session = await rig.Sender(source, "shm").OpenAsync(grant.Address, default).Soon();
        for (var layer = 0; layer < layers; layer++)
        {
            session.Send(layer, [0], 0, 8);
        }

        for (var layer = 0; layer < layers; layer++)
        {
            Assert.Equal(layer, _device.Copies);
            source.Computing[layer].Set();
            await Waiting.Until(() => session.BytesSent == (layer + 1) * PageSlice.BytesOf(Pools.Small, 0, 8), "the layer has been copied");
        }

        await session.CommitAsync(0, 8, default).Soon();
        await session.DisposeAsync();
        await grant.RevokeAsync().Soon();
    }

    [Fact]
    public async Task A_sender_into_a_page_that_may_be_a_copy_waits_until_it_is_one()
    {
        using var source = _device.NewPool(Pools.Small, 4);
        _ = source.Contents.Filled(1);
        var target = _device.NewPool(Pools.Small, 4);
        await using var rig = new Rig(Pools.Small, pool: target, filled: false);
        foreach (var (begin, awaited) in ((int, int)[])[(0, 0), (3, 1)])
        {
            var grant = rig.Endpoint.Grant("r", [2], begin, 8);
            await using (var session = await rig.Sender(source, "shm").OpenAsync(grant.Address, default).Soon())
            {
                Assert.Equal(("ipc", awaited), (session.Transport, target.MovesAwaited));
            }

            await grant.RevokeAsync().Soon();
        }
    }

    [Fact]
    public async Task Pages_come_back_only_when_the_device_has_finished_with_them()
    {
        using var source = _device.NewPool(Pools.Small, 4);
        _ = source.Contents.Filled(1);
        var target = _device.NewPool(Pools.Small, 4);
        await using var rig = new Rig(Pools.Small, pool: target, filled: false);
        using var busy = new ManualResetEventSlim();
        var reached = new TaskCompletionSource();
        _device.OnCopies = () =>
        {
            reached.TrySetResult();
            busy.Wait();
        };
        var grant = rig.Endpoint.Grant("first", [2], 0, 8);
        var session = await rig.Sender(source, "shm").OpenAsync(grant.Address, default).Soon();
        session.Send(0, [0], 0, 8);
        await reached.Task.Soon();
        var revoked = grant.RevokeAsync();
        for (var turn = 0; turn < 1000; turn++)
        {
            await Task.Yield();
            Assert.False(revoked.IsCompleted);
        }

        busy.Set();
        await revoked.Soon();
        var before = target.Contents.Snapshot();
        session.Send(1, [0], 0, 8);
        var fault = await Assert.ThrowsAsync<KvTransportException>(async () =>
        {
            session.Send(2, [0], 0, 8);
            await session.CommitAsync(0, 8, default).Soon();
        });
        Assert.Equal(KvFault.Ended, fault.Fault);
        Assert.Equal(before, target.Contents.Snapshot());
        await session.DisposeAsync();
    }

    [Fact]
    public async Task A_sender_killed_within_a_copy_keeps_the_pages_until_its_process_has_ended()
    {
        var process = new FakeProcess();
        var target = _device.NewPool(Pools.Small, 4);
        await using var rig = new Rig(Pools.Small, pool: target, filled: false, change: options => options with { ProcessOf = (_, _) => process });
        var grant = rig.Endpoint.Grant("r", [2], 0, 8);
        var address = new KvAddressCodec(Rig.Secret).Decode(grant.Address.Span);
        using var region = GrantRegion.Attach(address.Device!.TablePath, Pools.Small, rig.Options.Epoch, address.Device.Nonce);
        using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(address.Device.ControlPath));
            using var stream = new FrameStream(socket, 4096, 4096, FrameStream.ReplyFrameBytes);
            var greet = await PeerReply.ExpectAsync(stream, MessageKind.Greet, default);
            await stream.WriteAsync(Message.Prove(new ClusterProof(Rig.Secret).Of(greet.Bytes.Span)), default);
            await stream.SendAsync(Message.Open(grant.Address, sharedMemory: true), default);
            var accept = await PeerReply.ExpectAsync(stream, MessageKind.Accept, default);
            Assert.Equal(GrantState.Open, region.Grants.Enter(accept.First, address.Slot, address.Generation));
        }

        await process.Asked.Task.Soon();
        var revoked = grant.RevokeAsync();
        for (var turn = 0; turn < 1000; turn++)
        {
            await Task.Yield();
            Assert.False(revoked.IsCompleted);
        }

        process.Ended.SetResult();
        await revoked.Soon();
        await Waiting.Until(() => process.IsDisposed, "the process is watched no more");
        region.Dispose();
    }

    [Fact]
    public async Task Memory_that_others_have_open_is_not_freed_and_is_closed_by_them_when_its_owner_ends()
    {
        using var source = _device.NewPool(Pools.Small, 4);
        _ = source.Contents.Filled(1);

        // One that still sends when the receiver ends.
        var target = _device.NewPool(Pools.Small, 4);
        var rig = new Rig(Pools.Small, pool: target, filled: false);
        await using var sender = new KvSender(source, new KvSenderOptions { ClusterSecret = Rig.Secret, TimeProvider = rig.Time });
        var session = await sender.OpenAsync(rig.Endpoint.Grant("r", [2], 0, 8).Address, default).Soon();
        Assert.Equal(1, target.Openings);
        await rig.DisposeAsync();
        Assert.Equal((true, false), (target.IsAbandoned, target.IsFreed));
        await session.DisposeAsync();
        await Waiting.Until(() => target.Openings == 0, "the sender has closed the memory");

        // One that has sent: it has kept the memory open for the next time, and closes it before its owner frees it, or the owner does not.
        var next = _device.NewPool(Pools.Small, 4);
        var nextRig = new Rig(Pools.Small, pool: next, filled: false);
        await SendAsync(sender, nextRig.Endpoint.Grant("r", [2], 0, 8), "ipc");
        Assert.Equal((1, 1), (next.Openings, sender.Peers));
        await nextRig.DisposeAsync();
        Assert.NotEqual(next.IsAbandoned, next.IsFreed);
        await Waiting.Until(() => next.Openings == 0 && sender.Peers == 0, "the sender has closed the memory");

        // One that nobody has open.
        var last = _device.NewPool(Pools.Small, 4);
        await new Rig(Pools.Small, pool: last, filled: false).DisposeAsync();
        Assert.True(last.IsFreed);
    }

    /// <summary>Reservations that come, are sent to and end at any moment, in pages that were another's just before, over a device that copies late.</summary>
    [Fact]
    public async Task Whatever_ends_at_whatever_moment_no_page_that_came_back_is_written()
    {
        var (arrived, ended) = (0, 0);
        for (var seed = 0; seed < 12; seed++)
        {
            var random = new Random(seed);
            var layout = Pools.Small;
            var target = _device.NewPool(layout, 12);
            _ = target.Contents.Filled(99);
            using var source = _device.NewPool(layout, 12);
            _ = source.Contents.Filled(seed);
            await using var rig = new Rig(layout, pool: target, filled: false);
            _device.OnCopies = () => Thread.SpinWait(5_000);
            var free = new List<int>(Waiting.Range(12));
            var running = new List<Task>();
            for (var round = 0; round < 30; round++)
            {
                var count = random.Next(1, 5);
                if (CountOf(free) < count)
                {
                    await Task.WhenAll(running).Soon();
                    running.Clear();
                }

                int[] pages;
                lock (free)
                {
                    pages = [.. free.OrderBy(_ => random.Next()).Take(count)];
                    free.RemoveAll(pages.Contains);
                }

                running.Add(RunAsync(rig, source, target, pages, random.Next(4), new Random(random.Next())));
            }

            await Task.WhenAll(running).Soon();

            async Task RunAsync(Rig rig, KvPool from, SharedDevice.DevicePool to, int[] pages, int patience, Random own)
            {
                await Task.Yield();
                var end = pages.Length * layout.PageTokens;
                var grant = rig.Endpoint.Grant($"r{own.Next()}", pages, 0, end);
                var session = await rig.Sender(from, "shm").OpenAsync(grant.Address, default).Soon();
                Assert.Equal("ipc", session.Transport);
                for (var layer = 0; layer < layout.Layers; layer++)
                {
                    session.Send(layer, Waiting.Range(pages.Length), 0, end);
                }

                try
                {
                    if (patience > 0)
                    {
                        await session.CommitAsync(0, end, default).Soon();
                        Interlocked.Increment(ref arrived);
                        for (var index = 0; index < pages.Length; index++)
                        {
                            Assert.Equal(from is SharedDevice.DevicePool device ? device.Contents.Page(1, index) : [], to.Contents.Page(1, pages[index]));
                        }
                    }
                }
                finally
                {
                    await grant.RevokeAsync().Soon();

                    // They are somebody else's from now on, who finds in them what he has put there.
                    foreach (var page in pages)
                    {
                        to.Contents.Page(2, page).Fill((byte)page);
                    }

                    for (var turn = own.Next(200); turn > 0; turn--)
                    {
                        await Task.Yield();
                    }

                    Assert.All(pages, page => Assert.Equal(-1, to.Contents.Page(2, page).IndexOfAnyExcept((byte)page)));
                    await session.DisposeAsync();
                    Interlocked.Increment(ref ended);
                    lock (free)
                    {
                        free.AddRange(pages);
                    }
                }
            }
        }

        Assert.Equal(12 * 30, ended);
        Assert.True(arrived > 100);
    }

    [Fact]
    public async Task The_end_of_another_process_is_seen()
    {
        using var child = Process.Start(new ProcessStartInfo("sleep", "60"))!;
        using var watched = LibC.OpenProcess(child.Id);
        Assert.False(LibC.IsReadable(watched));
        child.Kill();
        await child.WaitForExitAsync().Soon();
        Assert.True(LibC.IsReadable(watched));
        Assert.Throws<IOException>(() => LibC.OpenProcess(int.MaxValue));
    }

    [Fact]
    public void An_address_has_what_opens_the_device_and_a_damaged_one_is_refused()
    {
        var codec = new KvAddressCodec(Rig.Secret);
        var export = new DeviceExport(Guid.Parse("00112233-4455-6677-8899-aabbccddeeff"), new byte[] { 1, 2, 3 }, 1 << 20);
        var address = AddressTests.Sample() with { Device = new DeviceRoute("/proc/1/fd/7", Guid.NewGuid(), "/run/kv.sock", export) };
        var decoded = codec.Decode(codec.Encode(address)).Device!;
        Assert.Equal(address.Device with { Export = decoded.Export }, decoded);
        Assert.Equal((export.Device, export.Offset, Convert.ToHexString(export.Handle.Span)), (decoded.Export.Device, decoded.Export.Offset, Convert.ToHexString(decoded.Export.Handle.Span)));
        var wrong = codec.Encode(address with { Device = address.Device with { Export = export with { Offset = -1 } } });
        Assert.Equal(KvFault.Malformed, Assert.Throws<KvAddressException>(() => codec.Decode(wrong)).Fault);
    }

    private static int CountOf(List<int> pages)
    {
        lock (pages)
        {
            return pages.Count;
        }
    }

    private static async Task SendAsync(KvSender sender, IKvGrant grant, string transport)
    {
        await using var session = await sender.OpenAsync(grant.Address, default).Soon();
        Assert.Equal(transport, session.Transport);
        for (var layer = 0; layer < Pools.Small.Layers; layer++)
        {
            session.Send(layer, [0], 0, 8);
        }

        await session.CommitAsync(0, 8, default).Soon();
    }

    private sealed class FakeProcess : IPeerProcess
    {
        public TaskCompletionSource Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource Ended { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool IsDisposed { get; private set; }

        public Task EndedAsync(CancellationToken cancellationToken)
        {
            Asked.TrySetResult();
            return Ended.Task.WaitAsync(cancellationToken);
        }

        public void Dispose() => IsDisposed = true;
    }
}
