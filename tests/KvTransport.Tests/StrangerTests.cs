using System.Globalization;
using System.Net;
using System.Net.Sockets;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Tests.Support;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Tests;

/// <summary>Anybody who reaches the port may connect. Until somebody has shown that he is of the cluster, he costs little and keeps nobody out.</summary>
public class StrangerTests
{
    private const int Few = 8;

    [Fact]
    public async Task Strangers_that_stay_silent_are_few_and_keep_no_sender_out()
    {
        await using var rig = new Rig(change: options => options with { MaxNewcomers = Few });
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var strangers = new List<Socket>();
        for (var stranger = 0; stranger < 100; stranger++)
        {
            var socket = await DialAsync(rig.Endpoint.TcpPort!.Value);
            strangers.Add(socket);

            // Nothing, the beginning of a message, or the beginning of one of half a MiB.
            await SendAsync(socket, (stranger % 3) switch { 0 => [], 1 => [40, 0], _ => [0, 0, 8, 0, 1, 2, 3] });
            Assert.InRange(rig.Endpoint.Newcomers, 0, Few);
            if (stranger % 25 == 24)
            {
                Assert.Equal("tcp", await TransferTests.SendAllAsync(rig.Sender(local, "tcp"), rig.Endpoint.Grant($"r{stranger}", [3, 4], 0, 16), [0, 1]));
            }
        }

        // Those who still wait have as long as anybody.
        rig.Time.Advance(rig.Options.HandshakeTimeout);
        await Waiting.Until(() => rig.Endpoint.Newcomers == 0, "all strangers are gone");
        foreach (var socket in strangers)
        {
            await EndAsync(socket);
            socket.Dispose();
        }
    }

    [Fact]
    public async Task Strangers_make_an_endpoint_allocate_next_to_nothing()
    {
        const int strangers = 200;
        var folder = Directory.CreateTempSubdirectory("kv-strangers-");
        using (var receiver = new Peer("receive", Path.Combine(folder.FullName, "kv.sock"), Pools.Large.ModelId, "4"))
        {
            var address = Convert.FromBase64String(await receiver.AskAsync("grant r 0 32 3"));
            var port = new KvAddressCodec(Rig.Secret).Decode(address).Tcp!.Port;
            await FloodAsync(port, 20);
            var before = await AllocatedAsync();
            await FloodAsync(port, strangers);
            Assert.InRange((await AllocatedAsync() - before) / strangers, 0, 32 << 10);

            async Task<long> AllocatedAsync() => long.Parse(await receiver.AskAsync("allocated"), CultureInfo.InvariantCulture);
        }

        folder.Delete(recursive: true);

        static async Task FloodAsync(int port, int count)
        {
            var sockets = new List<Socket>();
            for (var index = 0; index < count; index++)
            {
                // As long a message as may ever come, and some of it.
                sockets.Add(await DialAsync(port));
                await SendAsync(sockets[^1], [.. BitConverter.GetBytes(FrameStream.OpenFrameBytes), .. new byte[1000]]);
            }

            foreach (var socket in sockets)
            {
                await EndAsync(socket);
                socket.Dispose();
            }
        }
    }

    [Fact]
    public async Task Only_the_answer_to_this_challenge_under_this_secret_is_taken()
    {
        await using var rig = new Rig();
        var proof = new ClusterProof(Rig.Secret);
        byte[] last = [];
        foreach (var (fault, answer) in new (KvFault, Func<byte[], Message>)[]
        {
            (KvFault.Forged, challenge => Message.Prove(new ClusterProof("the secret of another cluster"u8.ToArray()).Of(challenge))),
            (KvFault.Forged, _ => Message.Prove(proof.Of(last))),
            (KvFault.Forged, challenge => Message.Prove(challenge)),
            (KvFault.Forged, _ => Message.Prove(Array.Empty<byte>())),
            (KvFault.UnsupportedVersion, challenge => Message.Prove(proof.Of(challenge)) with { First = 1 }),
            (KvFault.Malformed, _ => Message.Commit(0, 1)),
            (KvFault.Malformed, _ => Message.Prove(new byte[200])),
        })
        {
            using var stream = new FrameStream(await DialAsync(rig.Endpoint.TcpPort!.Value), 4096, 4096, FrameStream.ReplyFrameBytes);
            var challenge = (await stream.ReadAsync(default).AsTask().Soon())!.Value.Bytes.ToArray();
            await stream.SendAsync(answer(challenge), default);
            var reply = (await stream.ReadAsync(default).AsTask().Soon())!.Value;
            Assert.Equal((MessageKind.Refuse, fault), (reply.Kind, (KvFault)reply.First));
            Assert.NotEqual(last, challenge);
            last = challenge;
        }
    }

    [Fact]
    public async Task A_sender_too_many_is_told_that_the_receiver_is_busy()
    {
        await using var rig = new Rig(change: options => options with { MaxConnections = 1 });
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        var grant = rig.Endpoint.Grant("r", [3, 4], 0, 16);
        await using (await rig.Sender(local, "tcp").OpenAsync(grant.Address, default).Soon())
        {
            var fault = await Assert.ThrowsAsync<KvTransportException>(() => rig.Sender(local, "tcp").OpenAsync(grant.Address, default).Soon());
            Assert.Equal(KvFault.Busy, fault.Fault);
            Assert.Contains("MaxConnections", fault.Message, StringComparison.Ordinal);
        }
    }

    private static async Task<Socket> DialAsync(int port)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(new IPEndPoint(IPAddress.Loopback, port));
        return socket;
    }

    private static async Task SendAsync(Socket socket, byte[] bytes)
    {
        try
        {
            _ = await socket.SendAsync(bytes);
        }
        catch (SocketException)
        {
            // Thrown out already.
        }
    }

    private static async Task EndAsync(Socket socket)
    {
        try
        {
            socket.Shutdown(SocketShutdown.Send);
            while (await socket.ReceiveAsync(new byte[4096]).Soon() > 0)
            {
            }
        }
        catch (SocketException)
        {
            // Reset: ended too.
        }
    }
}
