using Microsoft.Extensions.Logging.Abstractions;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Client;
using ScriptedServe.Contracts.Wire.Server;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>Addresses, servers and clients for the tests of the wire.</summary>
internal static class WireTesting
{
    public static readonly EngineAddress AnyPort = EngineAddress.Tcp("127.0.0.1", 0);

    /// <summary>A short path: sockets allow 107 bytes.</summary>
    public static EngineAddress NewSocket() => EngineAddress.Unix(Path.Combine(Path.GetTempPath(), $"ss-{Guid.NewGuid():N}"[..15]));

    public static EngineAddress Listen(string transport) => transport == "unix" ? NewSocket() : AnyPort;

    public static Task<EngineServer> ServeAsync(IEngineApi engine, EngineAddress? listen = null, RpcServerOptions? options = null, TimeProvider? time = null) =>
        EngineServer.StartAsync(engine, listen ?? AnyPort, options ?? new(), time ?? TimeProvider.System, NullLoggerFactory.Instance);

    public static EngineClient Call(EngineAddress address, EngineClientOptions? options = null, TimeProvider? time = null) =>
        new(address, options ?? new(), time ?? TimeProvider.System);

    /// <summary>A hung test fails instead of hanging the run.</summary>
    public static Task<T> Within<T>(this Task<T> task) => task.WaitAsync(TimeSpan.FromSeconds(30));

    public static Task Within(this Task task) => task.WaitAsync(TimeSpan.FromSeconds(30));

    public static async Task<RpcException> FailsAsync(Task call) => await Assert.ThrowsAsync<RpcException>(() => call.Within());

    public static async Task<List<GenerateChunk>> ToListAsync(IAsyncEnumerable<GenerateChunk> chunks)
    {
        var list = new List<GenerateChunk>();
        await foreach (var chunk in chunks)
        {
            list.Add(chunk);
        }

        return list;
    }
}
