using Microsoft.Extensions.Logging.Abstractions;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Server;

namespace ScriptedServe.DataPathBenchmarks.Stub;

/// <summary>The process that stands behind what is measured: two stub engines, and the same answer as plain HTTP.</summary>
internal static class StubCommand
{
    /// <summary>Prints the engines' addresses; a file named on the input is then served as plain HTTP, on the port that is printed. Ends with its input.</summary>
    public static async Task<int> RunAsync()
    {
        using var ticks = new TickSource(TimeProvider.System);
        await using var prefill = await StartAsync("stub-0", "prefill", ticks);
        await using var decode = await StartAsync("stub-1", "decode", ticks);
        Console.WriteLine($"{prefill.Address} {decode.Address}");
        SseUpstream? upstream = null;
        while (await Console.In.ReadLineAsync() is { Length: > 0 } file)
        {
            upstream?.Dispose();
            upstream = new SseUpstream(await File.ReadAllBytesAsync(file), ticks);
            Console.WriteLine(upstream.Port);
        }

        upstream?.Dispose();
        return 0;
    }

    private static Task<EngineServer> StartAsync(string id, string label, TickSource ticks) => EngineServer.StartAsync(
        new StubEngine(id, label, ticks), EngineAddress.Tcp("127.0.0.1", 0), new RpcServerOptions(), TimeProvider.System, NullLoggerFactory.Instance);
}
