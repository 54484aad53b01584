using System.Security.Cryptography;
using ScriptedServe.KvTransport.Tests.Support;

namespace ScriptedServe.KvTransport.Tests;

public sealed class ProcessTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kv-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Two_processes_move_kv_over_both_transports()
    {
        using var receiver = new Peer("receive", Path.Combine(_folder.FullName, "kv.sock"), Pools.Large.ModelId, "16");
        using var sender = new TestPool(Pools.Large, 16).Filled(1);
        Assert.Equal("filled", await receiver.AskAsync("fill"));
        using var mirror = new TestPool(Pools.Large, 16).Filled(99);
        var expected = mirror.Snapshot();
        foreach (var transport in new[] { "shm", "tcp" })
        {
            using var peer = new Peer("send", transport, "-1");
            for (var round = 0; round < 2; round++)
            {
                var (begin, end) = (5 + round, 150 - round);
                int[] to = transport == "shm" ? [9, 2, 3, 4, 8] : [11, 1, 0, 6, 7];
                var address = await receiver.AskAsync($"grant {transport}{round} {begin} {end} {string.Join(' ', to)}");
                Assert.Equal($"{transport} {2 * (end - begin) * Pools.Large.KvHeads * Pools.Large.HeadBytes * Pools.Large.Layers}", await peer.AskAsync(address));
                Assert.Equal("arrived", await receiver.AskAsync($"arrived {transport}{round}"));
                expected = Pools.Expected(mirror, expected, to, begin, sender, Waiting.Range(16), begin, end);
            }
        }

        Assert.Equal(Convert.ToHexString(SHA256.HashData(expected)), await receiver.AskAsync("hash"));
    }

    [Theory]
    [InlineData("shm")]
    [InlineData("tcp")]
    public async Task A_sender_killed_within_a_write_does_not_hold_the_pages(string transport)
    {
        await using var rig = new Rig(Pools.Large, pages: 16);
        var grant = rig.Endpoint.Grant("r", [3, 4, 5], 0, 96);
        using var sender = new Peer("send", transport, "1");
        Assert.Equal("inside", await sender.AskAsync(Convert.ToBase64String(grant.Address.Span)));
        var table = ((SharedKvPool)rig.Pool).Grants;
        await Waiting.Until(() => table.Writers(0) == 1, "the sender is within a write");
        var revoke = grant.RevokeAsync();
        if (transport == "shm")
        {
            for (var turn = 0; turn < 1000; turn++)
            {
                await Task.Yield();
                Assert.False(revoke.IsCompleted);
            }
        }

        await sender.KillAsync();
        await revoke.Soon();
        await Waiting.Until(() => rig.Endpoint.Sessions == 0 && rig.Endpoint.Connections == 0, "its connection is gone");
        Assert.Equal(0, grant.Sessions);
    }

    [Fact]
    public async Task A_receiver_that_dies_is_noticed_and_its_memory_let_go()
    {
        using var local = new TestPool(Pools.Large, 16).Filled(1);
        await using var sender = new KvSender(local, new KvSenderOptions { ClusterSecret = Rig.Secret });
        using var receiver = new Peer("receive", Path.Combine(_folder.FullName, "kv.sock"), Pools.Large.ModelId, "16");
        async Task<IKvSendSession> OpenAsync(string id) => await sender.OpenAsync(Convert.FromBase64String(await receiver.AskAsync($"grant {id} 0 32 3")), default).Soon();
        await (await OpenAsync("first")).DisposeAsync();
        Assert.Equal(1, sender.Peers);
        var open = await OpenAsync("second");
        var address = Convert.FromBase64String(await receiver.AskAsync("grant third 0 32 4"));
        await receiver.KillAsync();
        for (var layer = 0; layer < Pools.Large.Layers; layer++)
        {
            open.Send(layer, [0], 0, 32);
        }

        Assert.Equal(KvFault.Disconnected, (await Assert.ThrowsAsync<KvTransportException>(() => open.CommitAsync(0, 32, default).Soon())).Fault);
        await open.DisposeAsync();
        Assert.Equal(KvFault.Unreachable, (await Assert.ThrowsAsync<KvTransportException>(() => sender.OpenAsync(address, default).Soon())).Fault);
        Assert.Equal(0, sender.Peers);
    }

    [Fact]
    public async Task An_idle_sender_unmaps_a_receiver_that_ends()
    {
        using var local = new TestPool(Pools.Small, 2).Filled(1);
        await using var rig = new Rig();
        var sender = rig.Sender(local, "shm");
        await TransferTests.SendAllAsync(sender, rig.Endpoint.Grant("r", [3, 4], 0, 16), [0, 1]);
        Assert.Equal(1, sender.Peers);
        await rig.Endpoint.DisposeAsync();
        await Waiting.Until(() => sender.Peers == 0, "the mapping is dropped");
    }

    [Fact]
    public async Task Many_sessions_leave_no_file_and_no_mapping()
    {
        using var peer = new Peer("leaks");
        var before = await peer.AnswerAsync();
        Assert.Equal(before, await peer.AnswerAsync());
        Assert.EndsWith(" 0", before, StringComparison.Ordinal);
    }
}
