using System.Globalization;

namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>
/// Moves KV from this process to another one over each transport, beside a plain copy of the same pages within this process. Layers: copy, fence and control
/// (shm), socket (tcp): each costs the difference to the one before.
/// </summary>
internal static class Benchmark
{
    private const int Rounds = 9;

    /// <summary>Page sizes of a small model and of an 8 B one (64 KiB a layer).</summary>
    public static readonly KvLayout[] Layouts =
    [
        Pools.Large,
        new("bench-8KiB", Layers: 16, KvHeads: 2, HeadDim: 64, PageTokens: 16, KvDataType.BFloat16),
        new("bench-64KiB", Layers: 32, KvHeads: 8, HeadDim: 128, PageTokens: 16, KvDataType.BFloat16),
    ];

    public static async Task RunAsync()
    {
        var folder = Directory.CreateTempSubdirectory("kv-bench-");
        try
        {
            Console.WriteLine("layout        transport   GB/s best  median   first (memory not committed)   Send call us (layer)   1 page: open..close us");
            foreach (var layout in Layouts[1..])
            {
                // About 256 MiB a round.
                var pages = (int)((256L << 20) / layout.PageBytesAllLayers);
                using var local = new TestPool(layout, pages).Filled(1);
                Copy(local);
                foreach (var transport in new[] { "shm", "tcp" })
                {
                    using var receiver = new Peer("receive", Path.Combine(folder.FullName, "kv.sock"), layout.ModelId, pages.ToString(CultureInfo.InvariantCulture));
                    await using var sender = new KvSender(local, new KvSenderOptions { ClusterSecret = Rig.Secret, AllowSharedMemory = transport == "shm" });
                    await MeasureAsync(transport, local, sender, receiver);
                }
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static unsafe void Copy(TestPool local)
    {
        using var target = new TestPool(local.Layout, local.Pages);
        var rates = new List<double>();
        for (var round = 0; round <= Rounds; round++)
        {
            var started = TimeProvider.System.GetTimestamp();
            for (var layer = 0; layer < local.Layout.Layers; layer++)
            {
                for (var page = 0; page < local.Pages; page++)
                {
                    Buffer.MemoryCopy(local.PagePointer(layer, page), target.PagePointer(layer, page), local.Layout.PageBytes, local.Layout.PageBytes);
                }
            }

            rates.Add(Rate(local.Layout.PageBytesAllLayers * local.Pages, TimeProvider.System.GetElapsedTime(started)));
        }

        Report(local.Layout, "memcpy", rates, "");
    }

    private static async Task MeasureAsync(string transport, TestPool local, KvSender sender, Peer receiver)
    {
        var layout = local.Layout;
        var table = Waiting.Range(local.Pages);
        var rates = new List<double>();
        var sends = new List<double>();
        for (var round = 0; round <= Rounds; round++)
        {
            var tokens = local.Pages * layout.PageTokens;
            await using var session = await OpenAsync(sender, receiver, $"grant {transport}{round} 0 {tokens} {string.Join(' ', table)}", transport);
            var started = TimeProvider.System.GetTimestamp();
            for (var layer = 0; layer < layout.Layers; layer++)
            {
                session.Send(layer, table, 0, tokens);
            }

            sends.Add(TimeProvider.System.GetElapsedTime(started).TotalMicroseconds / layout.Layers);
            await session.CommitAsync(0, tokens, default);
            rates.Add(Rate(session.BytesSent, TimeProvider.System.GetElapsedTime(started)));
        }

        var small = new List<double>();
        for (var round = 0; round < 200; round++)
        {
            var address = Convert.FromBase64String(await receiver.AskAsync($"grant small{round} 0 {layout.PageTokens} 0"));
            var started = TimeProvider.System.GetTimestamp();
            await using (var session = await sender.OpenAsync(address, default))
            {
                for (var layer = 0; layer < layout.Layers; layer++)
                {
                    session.Send(layer, table, 0, layout.PageTokens);
                }

                await session.CommitAsync(0, layout.PageTokens, default);
            }

            small.Add(TimeProvider.System.GetElapsedTime(started).TotalMicroseconds);
        }

        Report(layout, transport, rates, string.Create(CultureInfo.InvariantCulture, $"{Median(sends),16:F1}{Median(small),28:F0}"));
    }

    private static async Task<IKvSendSession> OpenAsync(KvSender sender, Peer receiver, string grant, string transport)
    {
        var session = await sender.OpenAsync(Convert.FromBase64String(await receiver.AskAsync(grant)), default);
        return session.Transport == transport ? session : throw new InvalidOperationException($"{session.Transport}, not {transport}");
    }

    private static void Report(KvLayout layout, string transport, List<double> rates, string rest) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"{layout.ModelId,-14}{transport,-10}{rates[1..].Max(),10:F2}{Median(rates[1..]),9:F2}{rates[0],9:F2}{rest,40}"));

    private static double Rate(long bytes, TimeSpan elapsed) => bytes / elapsed.TotalSeconds / 1e9;

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
}
