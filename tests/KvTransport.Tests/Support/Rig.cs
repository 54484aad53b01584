using System.Net;
using Microsoft.Extensions.Time.Testing;

namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>A receiver with a shared pool and both listeners, and a way to make senders to it.</summary>
internal sealed class Rig : IAsyncDisposable
{
    public static readonly byte[] Secret = "a secret of the test cluster"u8.ToArray();
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kv-");
    private readonly List<IAsyncDisposable> _senders = [];

    public Rig(KvLayout? layout = null, int pages = 32, KvPool? pool = null, ulong epoch = 7, Func<KvEndpointOptions, KvEndpointOptions>? change = null, bool filled = true)
    {
        Pool = pool ?? SharedKvPool.Create(layout ?? Pools.Small, pages, epoch);
        _ = filled ? (Pool is DeviceTestPool device ? device.Contents : Pool).Filled(seed: 99) : null;
        Options = new KvEndpointOptions
        {
            EngineId = "receiver",
            Epoch = epoch,
            ClusterSecret = Secret,
            UnixPath = Path.Combine(_folder.FullName, "kv.sock"),
            TcpBind = new IPEndPoint(IPAddress.Loopback, 0),
            TimeProvider = Time,
        };
        Options = change?.Invoke(Options) ?? Options;
        Endpoint = KvEndpoint.Start(Pool, Options);
    }

    public FakeTimeProvider Time { get; } = new();

    public KvPool Pool { get; }

    public KvEndpointOptions Options { get; }

    public KvEndpoint Endpoint { get; }

    public KvSender Sender(KvPool local, string transport, byte[]? secret = null)
    {
        var sender = new KvSender(local, new KvSenderOptions { ClusterSecret = secret ?? Secret, AllowSharedMemory = transport == "shm", TimeProvider = Time });
        _senders.Add(sender);
        return sender;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var sender in _senders)
        {
            await sender.DisposeAsync();
        }

        Endpoint.CheckIntegrity();
        await Endpoint.DisposeAsync();
        Pool.Dispose();
        _folder.Delete(recursive: true);
    }
}

internal static class Waiting
{
    /// <summary>Of what would otherwise hang: far longer than anything takes on a machine that is busy with other things.</summary>
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    /// <summary>Fails the test instead of hanging it.</summary>
    public static Task Soon(this Task task) => task.WaitAsync(Limit);

    public static Task<T> Soon<T>(this Task<T> task) => task.WaitAsync(Limit);

    /// <summary>For what has no event: yields until it holds.</summary>
    public static async Task Until(Func<bool> holds, string what)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!holds())
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < Limit, $"still not: {what}");
            await Task.Yield();
        }
    }

    public static int[] Range(int count) => [.. Enumerable.Range(0, count)];
}
