using System.Globalization;
using System.Net;
using System.Security.Cryptography;

namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>
/// The test assembly run as a program of its own: the other engine of tests that need two processes, and the benchmark. It is told what to do by lines on
/// standard input, one answer a line, and ends with its input.
/// </summary>
internal static class Program
{
    private static readonly KvLayout Layout = Pools.Large;

    private static async Task<int> Main(string[] arguments)
    {
        switch (arguments)
        {
            case ["receive", var unixPath, var model, var pages]:
                await ReceiveAsync(unixPath, Benchmark.Layouts.Single(layout => layout.ModelId == model), int.Parse(pages, CultureInfo.InvariantCulture));
                return 0;
            case ["send", var transport, var holdAtLayer]:
                await SendAsync(transport, int.Parse(holdAtLayer, CultureInfo.InvariantCulture));
                return 0;
            case ["leaks"]:
                await Leaks.RunAsync();
                return 0;
            case ["bench"]:
                await Benchmark.RunAsync();
                return 0;
            default:
                Console.Error.WriteLine("receive UNIX-PATH MODEL PAGES | send shm|tcp HOLD-AT-LAYER | leaks | bench");
                return 2;
        }
    }

    /// <summary>"grant ID BEGIN END PAGE..." answers the address; "arrived ID" answers when it has; "fill" fills the pool from seed 99; "hash" answers the whole pool's; "allocated" answers the bytes allocated so far.</summary>
    private static async Task ReceiveAsync(string unixPath, KvLayout layout, int pages)
    {
        using var pool = SharedKvPool.Create(layout, pages, epoch: 1);
        await using var endpoint = KvEndpoint.Start(pool, new KvEndpointOptions
        {
            EngineId = "child",
            Epoch = 1,
            ClusterSecret = Rig.Secret,
            UnixPath = unixPath,
            TcpBind = new IPEndPoint(IPAddress.Loopback, 0),
        });
        var grants = new Dictionary<string, IKvGrant>();
        while (Console.ReadLine() is { } line)
        {
            var words = line.Split(' ');
            switch (words[0])
            {
                case "grant":
                    int[] numbers = [.. words[2..].Select(word => int.Parse(word, CultureInfo.InvariantCulture))];
                    var grant = grants[words[1]] = endpoint.Grant(words[1], numbers.AsSpan(2), numbers[0], numbers[1]);
                    Console.WriteLine(Convert.ToBase64String(grant.Address.Span));
                    break;
                case "arrived":
                    await grants[words[1]].Arrival;
                    Console.WriteLine("arrived");
                    break;
                case "fill":
                    pool.Filled(seed: 99);
                    Console.WriteLine("filled");
                    break;
                case "allocated":
                    Console.WriteLine(GC.GetTotalAllocatedBytes(precise: true).ToString(CultureInfo.InvariantCulture));
                    break;
                case "hash":
                    Console.WriteLine(Convert.ToHexString(SHA256.HashData(pool.Snapshot())));
                    break;
                default:
                    throw new InvalidOperationException(line);
            }
        }
    }

    /// <summary>
    /// Each line is an address, answered with "TRANSPORT BYTES" when all of its range was sent from pages that seed 1 fills. At the second page of one layer it
    /// says "inside" and stays there for good (-1: never).
    /// </summary>
    private static async Task SendAsync(string transport, int holdAtLayer)
    {
        using var pool = new TestPool(Layout, 16).Filled(seed: 1);
        pool.Asked = (layer, page) =>
        {
            if (layer == holdAtLayer && page == 1)
            {
                Console.WriteLine("inside");
                Thread.CurrentThread.Join();
            }
        };
        await using var sender = new KvSender(pool, new KvSenderOptions { ClusterSecret = Rig.Secret, AllowSharedMemory = transport == "shm" });
        while (Console.ReadLine() is { } line)
        {
            await using var session = await sender.OpenAsync(Convert.FromBase64String(line), default);
            for (var layer = 0; layer < Layout.Layers; layer++)
            {
                session.Send(layer, Waiting.Range(16), session.Begin, session.End);
            }

            await session.CommitAsync(session.Begin, session.End, default);
            Console.WriteLine($"{session.Transport} {session.BytesSent}");
        }
    }
}
