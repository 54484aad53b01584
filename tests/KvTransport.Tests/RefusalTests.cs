using System.Net;
using System.Net.Sockets;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.MessagePack;
using ScriptedServe.KvTransport.Tests.Support;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Tests;

public class RefusalTests
{
    private static readonly KvAddressCodec Codec = new(Rig.Secret);

    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task Addresses_that_are_not_this_engines_present_ones_are_refused_with_the_pool_untouched(string transport)
    {
        await using var rig = new Rig();
        var before = rig.Pool.Snapshot();
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        var good = Codec.Decode(grant.Address.Span);
        using var local = new TestPool(Pools.Small, 2);
        using var otherLayout = new TestPool(Pools.Small with { PageTokens = 16 }, 2);

        // Its pages are as long, so that only the type tells them apart.
        using var otherType = new TestPool(Pools.Small with { HeadDim = 32, DataType = KvDataType.Float16 }, 2);
        using var sameShape = new TestPool(Pools.Small with { DataType = KvDataType.BFloat16 }, 2);

        async Task<KvFault> OpenAsync(KvSender sender, ReadOnlyMemory<byte> address) =>
            (await Assert.ThrowsAnyAsync<KvTransportException>(() => sender.OpenAsync(address, default).Soon())).Fault;

        var here = rig.Sender(local, transport);
        Assert.Equal(KvFault.WrongEpoch, await OpenAsync(here, Codec.Encode(good with { Epoch = 6 })));
        Assert.Equal(KvFault.WrongEpoch, await OpenAsync(here, Codec.Encode(good with { EngineId = "another" })));
        Assert.Equal(KvFault.Ended, await OpenAsync(here, Codec.Encode(good with { ReservationId = "unknown" })));
        Assert.Equal(KvFault.Ended, await OpenAsync(here, Codec.Encode(good with { Generation = 2 })));
        Assert.Equal(KvFault.Ended, await OpenAsync(here, Codec.Encode(good with { Slot = 1_000_000 })));
        Assert.Equal(KvFault.Unreachable, await OpenAsync(here, Codec.Encode(good with { Shm = null, Tcp = null })));
        foreach (var other in new[] { otherLayout, otherType, sameShape })
        {
            Assert.Equal(KvFault.WrongLayout, await OpenAsync(rig.Sender(other, transport), grant.Address));
        }

        Assert.Equal(KvFault.Forged, await OpenAsync(rig.Sender(local, transport, "the secret of another cluster"u8.ToArray()), grant.Address));
        var tampered = grant.Address.ToArray();
        tampered[^40] ^= 1;
        Assert.Equal(KvFault.Forged, await OpenAsync(here, tampered));
        if (transport == "shm")
        {
            Assert.Equal(KvFault.OutOfRange, await OpenAsync(here, Codec.Encode(good with { Pages = [3, 32] })));
        }

        Assert.Equal(before, rig.Pool.Snapshot());
        Assert.Equal(0, grant.ArrivedTokens);
        Assert.Equal("tcp", await TransferTests.SendAllAsync(rig.Sender(local, "tcp"), grant, [0, 1]));
    }

    [Fact]
    public async Task Shared_memory_that_is_another_pool_falls_back_to_tcp()
    {
        await using var rig = new Rig();
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        var good = Codec.Decode(grant.Address.Span);
        foreach (var shm in new[] { good.Shm! with { Nonce = Guid.Empty }, good.Shm! with { Path = "/proc/self/fd/0" }, good.Shm! with { Path = "/dev/null" }, good.Shm! with { ControlPath = "/nowhere" } })
        {
            await using var session = await rig.Sender(local, "shm").OpenAsync(Codec.Encode(good with { Shm = shm }), default).Soon();
            Assert.Equal("tcp", session.Transport);
        }

        var fault = await Assert.ThrowsAsync<KvTransportException>(() =>
            rig.Sender(local, "shm").OpenAsync(Codec.Encode(good with { Shm = good.Shm! with { ControlPath = "/nowhere" }, Tcp = null }), default).Soon());
        Assert.Equal(KvFault.Unreachable, fault.Fault);
    }

    [Fact]
    public async Task The_receiver_itself_checks_every_byte_of_an_address()
    {
        await using var rig = new Rig();
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        for (var at = 0; at < grant.Address.Length; at++)
        {
            var address = grant.Address.ToArray();
            address[at] ^= 0x10;
            using var stream = await ConnectAsync(rig);
            Assert.Equal(KvFault.Forged, await RefusedAsync(stream, Message.Open(address, sharedMemory: at % 2 == 0)));
        }

        var good = Codec.Decode(grant.Address.Span);
        using var layout = await ConnectAsync(rig);
        Assert.Equal(KvFault.WrongLayout, await RefusedAsync(layout, Message.Open(Codec.Encode(good with { Fingerprint = new string('0', 32) }), false)));
        using var shmOverTcp = await ConnectAsync(rig, tcp: true);
        Assert.Equal(KvFault.Malformed, await RefusedAsync(shmOverTcp, Message.Open(grant.Address, sharedMemory: true)));
    }

    [Fact]
    public async Task A_write_or_commit_outside_the_grant_is_refused_before_a_byte_is_written()
    {
        await using var rig = new Rig();
        var grant = rig.Endpoint.Grant("r", [3, 4], 4, 16);
        var before = rig.Pool.Snapshot();
        Message[] wrong =
        [
            Message.Write(-1, 4, 16), Message.Write(3, 4, 16), Message.Write(0, 3, 16), Message.Write(0, 4, 17), Message.Write(0, 8, 8), Message.Write(0, 9, 8),
            Message.Write(int.MaxValue, int.MinValue, int.MaxValue), Message.Commit(0, 16), Message.Commit(4, 17), Message.Commit(9, 8), Message.Commit(4, 16),
            Message.Of(MessageKind.Left), Message.Accept(1),
        ];
        foreach (var message in wrong)
        {
            using var stream = await OpenAsync(rig, grant, sharedMemory: false);
            var fault = await RefusedAsync(stream, message, payload: 64 << 10);
            Assert.Contains(fault, message.Kind is MessageKind.Left or MessageKind.Accept ? [KvFault.Malformed] : new[] { KvFault.OutOfRange, KvFault.Incomplete });
        }

        using (var shared = await OpenAsync(rig, grant, sharedMemory: true))
        {
            Assert.Equal(KvFault.Malformed, await RefusedAsync(shared, Message.Write(0, 4, 16)));
        }

        Assert.Equal(before, rig.Pool.Snapshot());
        Assert.Equal(0, grant.ArrivedTokens);
        await Waiting.Until(() => rig.Endpoint.Sessions == 0, "all sessions are over");
    }

    [Fact]
    public async Task Random_bytes_end_their_own_connection_only()
    {
        await using var rig = new Rig();
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var before = rig.Pool.Snapshot();
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        var open = Frame(Message.Open(grant.Address, sharedMemory: false));
        var random = new Random(5);
        for (var round = 0; round < 300; round++)
        {
            var bytes = new byte[random.Next(1, 2000)];
            random.NextBytes(bytes);
            if (round % 3 != 0)
            {
                // Nearly right: a true open, then noise in place of a message, or one damaged somewhere.
                bytes = round % 3 == 1 ? [.. open, .. bytes] : (byte[])open.Clone();
                if (round % 3 == 2)
                {
                    bytes[random.Next(bytes.Length)] ^= (byte)random.Next(1, 256);
                }
            }

            // From a stranger, or from one that has shown that it is of the cluster.
            using var stream = round % 4 < 2 ? await ConnectAsync(rig, tcp: round % 2 == 0) : Stream(await DialAsync(rig, tcp: round % 2 == 0));
            try
            {
                await stream.WritePayloadAsync(bytes, default);
                await stream.FlushAsync(default);
                stream.ShutdownSend();
                await stream.SkipToEndAsync(default).AsTask().Soon();
            }
            catch (SocketException)
            {
                // Reset: ended too.
            }
        }

        Assert.Equal(before, rig.Pool.Snapshot());
        Assert.Equal(0, grant.ArrivedTokens);
        await Waiting.Until(() => rig.Endpoint.Connections == 0, "all connections are closed");
        Assert.Equal("shm", await TransferTests.SendAllAsync(rig.Sender(local, "shm"), grant, [0, 1]));
    }

    [Fact]
    public async Task A_connection_that_never_opens_is_closed_after_its_time_and_one_in_a_session_is_not()
    {
        await using var rig = new Rig();
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        using var session = await OpenAsync(rig, grant, sharedMemory: true);
        using var silent = await DialAsync(rig, tcp: true);
        using var half = await ConnectAsync(rig);
        await half.WritePayloadAsync(new byte[] { 200, 0 }, default);
        await half.FlushAsync(default);
        await Waiting.Until(() => rig.Endpoint.Connections == 3, "all are accepted");
        await Waiting.Until(
            () =>
            {
                rig.Time.Advance(TimeSpan.FromSeconds(1));
                return rig.Endpoint.Connections == 1;
            },
            "the two that did not open are closed");
        await Stream(silent).SkipToEndAsync(default).AsTask().Soon();
        Assert.Equal(1, grant.Sessions);
    }

    [Fact]
    public async Task A_sender_that_stalls_within_a_write_does_not_keep_another_from_finishing()
    {
        await using var rig = new Rig();
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        using var stalled = await OpenAsync(rig, grant, sharedMemory: false);
        await stalled.WriteAsync(Message.Write(0, 0, 16), default);
        await stalled.WritePayloadAsync(new byte[Pools.Small.PageBytes + 100], default);
        await stalled.FlushAsync(default);
        await Waiting.Until(() => ((SharedKvPool)rig.Pool).Grants.Writers(0) == 1, "it is within a write");
        await TransferTests.SendAllAsync(rig.Sender(local, "tcp"), grant, [0, 1]);
        Assert.True(grant.HasArrived);
        var arrived = rig.Pool.Snapshot();

        await stalled.WritePayloadAsync(new byte[Pools.Small.PageBytes - 100], default);
        foreach (var layer in new[] { 1, 2 })
        {
            await stalled.WriteAsync(Message.Write(layer, 0, 16), default);
            await stalled.WritePayloadAsync(new byte[2 * Pools.Small.PageBytes], default);
        }

        await stalled.SendAsync(Message.Commit(0, 16), default);
        Assert.Equal(MessageKind.Committed, (await stalled.ReadAsync(default).AsTask().Soon())!.Value.Kind);
        Assert.Equal(arrived, rig.Pool.Snapshot());
        Assert.Equal(local.Page(0, 0), rig.Pool.Page(0, 3));
    }

    [Fact]
    public async Task An_endpoint_says_all_that_is_wrong_with_its_options()
    {
        await using var rig = new Rig();
        var options = rig.Options with { EngineId = "", Epoch = 8, UnixPath = new string('x', 200), TcpBind = new IPEndPoint(IPAddress.Any, 0) };
        var fault = Assert.Throws<ArgumentException>(() => KvEndpoint.Start(rig.Pool, options));
        foreach (var setting in new[] { "EngineId", "Epoch", "UnixPath", "AdvertisedHost" })
        {
            Assert.Contains(setting, fault.Message, StringComparison.Ordinal);
        }

        var inUse = Assert.Throws<IOException>(() => KvEndpoint.Start(rig.Pool, rig.Options with { TcpBind = null }));
        Assert.Contains("in use", inUse.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => rig.Endpoint.Grant("r", [3], 0, 16));
        Assert.Throws<ArgumentException>(() => rig.Endpoint.Grant("r", [3, 3], 0, 16));
        Assert.Throws<ArgumentException>(() => rig.Endpoint.Grant("r", [3, 32], 0, 16));
        Assert.Throws<ArgumentException>(() => rig.Endpoint.Grant(new string('r', 2000), [3, 4], 0, 16));
    }

    private static byte[] Frame(Message message)
    {
        var writer = new MessagePackWriter();
        message.Encode(writer);
        return [.. BitConverter.GetBytes(writer.Written.Length), .. writer.Written];
    }

    private static async Task<Socket> DialAsync(Rig rig, bool tcp)
    {
        var socket = tcp ? new Socket(SocketType.Stream, ProtocolType.Tcp) : new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(tcp ? new IPEndPoint(IPAddress.Loopback, rig.Endpoint.TcpPort!.Value) : new UnixDomainSocketEndPoint(rig.Options.UnixPath!));
        return socket;
    }

    private static FrameStream Stream(Socket socket) => new(socket, 4096, 4096, FrameStream.OpenFrameBytes);

    private static async Task<FrameStream> ConnectAsync(Rig rig, bool tcp = false)
    {
        var stream = Stream(await DialAsync(rig, tcp));
        var greet = (await stream.ReadAsync(default).AsTask().Soon())!.Value;
        await stream.SendAsync(Message.Prove(new ClusterProof(Rig.Secret).Of(greet.Bytes.Span)), default);
        return stream;
    }

    private static async Task<FrameStream> OpenAsync(Rig rig, IKvGrant grant, bool sharedMemory)
    {
        var stream = await ConnectAsync(rig);
        await stream.SendAsync(Message.Open(grant.Address, sharedMemory), default);
        Assert.Equal(MessageKind.Accept, (await stream.ReadAsync(default).AsTask().Soon())!.Value.Kind);
        return stream;
    }

    [Fact]
    public void The_end_of_a_machine_is_noticed_within_a_minute()
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        KvEndpoint.SetOptions(socket);
        int Read(SocketOptionName option) => (int)socket.GetSocketOption(SocketOptionLevel.Tcp, option)!;
        Assert.InRange(
            Read(SocketOptionName.TcpKeepAliveTime) + (Read(SocketOptionName.TcpKeepAliveInterval) * Read(SocketOptionName.TcpKeepAliveRetryCount)), 1, 60);
    }

    private static async Task<KvFault> RefusedAsync(FrameStream stream, Message message, int payload = 0)
    {
        await stream.WriteAsync(message, default);
        await stream.WritePayloadAsync(new byte[payload], default);
        await stream.FlushAsync(default);
        var reply = (await stream.ReadAsync(default).AsTask().Soon())!.Value;
        Assert.Equal(MessageKind.Refuse, reply.Kind);
        Assert.Null(await stream.ReadAsync(default).AsTask().Soon());
        return (KvFault)reply.First;
    }
}
