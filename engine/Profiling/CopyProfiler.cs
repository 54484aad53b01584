using System.Net;
using System.Security.Cryptography;
using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Profiling;

/// <summary>Times KV on its way from one pool to another, over each transport there is within a machine.</summary>
internal sealed class CopyProfiler(IModelRunner runner, KvPool pool, BudgetedTimer timer, TimeProvider time, List<string> skipped)
{
    private const ulong ReceiverEpoch = 2;

    /// <summary>The transports that two pools like this one have between them.</summary>
    public static IReadOnlyList<string> TransportsOf(KvPool pool) => pool.IsOnDevice ? ["tcp"] : ["shm", "tcp"];

    /// <param name="tokenCounts">Each of at least 1, and no more than the pool has room for.</param>
    public async Task<IReadOnlyList<KvCopyTime>> MeasureAsync(IReadOnlyList<int> tokenCounts)
    {
        using var folder = PrivateFolder.Create();
        using var target = runner.CreatePool(PagesOf(tokenCounts.Max()), ReceiverEpoch);
        var secret = RandomNumberGenerator.GetBytes(32);
        await using var receiver = KvEndpoint.Start(target, new KvEndpointOptions
        {
            EngineId = "profile",
            Epoch = ReceiverEpoch,
            ClusterSecret = secret,
            UnixPath = Path.Combine(folder.Path, "kv.sock"),
            TcpBind = new IPEndPoint(IPAddress.Loopback, 0),
        });
        var measured = new List<KvCopyTime>();
        foreach (var transport in TransportsOf(pool))
        {
            await using var sender = new KvSender(pool, new KvSenderOptions { ClusterSecret = secret, AllowSharedMemory = transport == "shm" });
            foreach (var tokens in tokenCounts)
            {
                if (timer.IsSpent)
                {
                    skipped.Add($"KV of {tokens} tokens over {transport}: time was up (--budget-seconds)");
                    timer.Skip();
                    continue;
                }

                var copy = new Copy(receiver, sender, tokens, [.. Enumerable.Range(0, PagesOf(tokens))]);
                var (seconds, samples) = await timer.MeasureAsync(() => TimeAsync(copy));
                var bytes = (long)tokens * pool.Layout.PageBytesAllLayers / pool.Layout.PageTokens;
                measured.Add(new KvCopyTime(transport, tokens, bytes, 1e3 * seconds, bytes / seconds / 1e9, samples));
            }
        }

        return measured;
    }

    private async Task<TimeSpan> TimeAsync(Copy copy)
    {
        var grant = copy.Receiver.Grant("profile", copy.Pages, 0, copy.Tokens);
        TimeSpan took;
        var started = time.GetTimestamp();
        await using (var session = await copy.Sender.OpenAsync(grant.Address, CancellationToken.None))
        {
            for (var layer = 0; layer < pool.Layout.Layers; layer++)
            {
                session.Send(layer, copy.Pages, 0, copy.Tokens);
            }

            await session.CommitAsync(0, copy.Tokens, CancellationToken.None);
            took = time.GetElapsedTime(started);
        }

        await grant.RevokeAsync();
        return took;
    }

    private int PagesOf(int tokens) => (tokens + pool.Layout.PageTokens - 1) / pool.Layout.PageTokens;

    private sealed record Copy(KvEndpoint Receiver, KvSender Sender, int Tokens, int[] Pages);
}
