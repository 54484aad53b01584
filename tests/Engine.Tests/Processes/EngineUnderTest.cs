using System.Diagnostics;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Client;
using ScriptedServe.Engine.Options;

namespace ScriptedServe.Engine.Tests.Processes;

/// <summary>An engine in a process of its own, with a client.</summary>
internal sealed class EngineUnderTest : IDisposable
{
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(60);

    private EngineUnderTest(Process process, EngineAddress address, EngineClient client) => (Process, Address, Client) = (process, address, client);

    public Process Process { get; }

    public EngineAddress Address { get; }

    public EngineClient Client { get; }

    /// <summary>Runs the engine's program to its end.</summary>
    public static async Task<(int ExitCode, string Errors)> RunAsync(params string[] arguments)
    {
        using var process = Start(arguments);
        using var timeout = new CancellationTokenSource(StartTimeout);
        var errors = await process.StandardError.ReadToEndAsync(timeout.Token);
        await process.WaitForExitAsync(timeout.Token);
        return (process.ExitCode, errors);
    }

    public static Task<EngineUnderTest> StartAsync(string secretFile, params string[] arguments) => StartUnderAsync(Environment.ProcessId, secretFile, arguments);

    public static async Task<EngineUnderTest> StartUnderAsync(int parentPid, string secretFile, params string[] arguments)
    {
        string[] threads = arguments.Contains("--threads") ? [] : ["--threads", "1"];
        var process = Start(["--kv-memory", "16MiB", .. threads, "--cluster-secret-file", secretFile, "--parent-pid", $"{parentPid}", .. arguments]);
        using var timeout = new CancellationTokenSource(StartTimeout);
        var line = await process.StandardOutput.ReadLineAsync(timeout.Token);
        const string Ready = "listening on ";
        if (line?.StartsWith(Ready, StringComparison.Ordinal) != true)
        {
            throw new InvalidOperationException($"The engine said '{line}' and {await process.StandardError.ReadToEndAsync(timeout.Token)}");
        }

        var address = EngineAddress.Parse(line[Ready.Length..]);
        return new EngineUnderTest(process, address, Connect(address.Host == "*" ? EngineAddress.Tcp("127.0.0.1", address.Port) : address));
    }

    public static EngineClient Connect(EngineAddress address, ClusterSecret? secret = null) =>
        new(address, new EngineClientOptions { BearerToken = secret?.BearerToken }, TimeProvider.System);

    /// <summary>Tells it to stop, and waits.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> TerminateAsync()
    {
        using (var kill = Process.Start("kill", ["-TERM", $"{Process.Id}"]))
        {
            await kill.WaitForExitAsync();
        }

        return await WaitForExitAsync();
    }

    public async Task<int> WaitForExitAsync()
    {
        using var timeout = new CancellationTokenSource(StartTimeout);
        await Process.WaitForExitAsync(timeout.Token);
        return Process.ExitCode;
    }

    public void Dispose()
    {
        Client.Dispose();
        if (!Process.HasExited)
        {
            Process.Kill();
        }

        Process.Dispose();
    }

    private static Process Start(IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "dotnet" ? path : "dotnet")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.ArgumentList.Add(typeof(EngineOptions).Assembly.Location);
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }
}
