using System.Diagnostics;
using System.Text.RegularExpressions;

namespace ScriptedServe.EndToEnd.Tests.Support;

/// <summary>An engine started by hand, as on a machine of its own: TCP only, with the built-in model.</summary>
public sealed partial class EngineProcess : IAsyncDisposable
{
    private readonly Process process;

    private EngineProcess(Process process, string address)
    {
        this.process = process;
        Address = address;
    }

    /// <summary>The address it printed, <c>http://…</c> or <c>unix:…</c>.</summary>
    public string Address { get; }

    public static async Task<EngineProcess> StartAsync(string listen = "http://127.0.0.1:0", params string[] arguments)
    {
        var process = new Process { StartInfo = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true } };
        foreach (var argument in (string[])[BuildOutput.Of("engine", "ScriptedServe.Engine"), "--device", "cpu", "--threads", "1", "--listen", listen, .. arguments])
        {
            process.StartInfo.ArgumentList.Add(argument);
        }

        var lines = new System.Collections.Concurrent.ConcurrentQueue<string>();
        var address = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnLine(string? line)
        {
            if (line is not null)
            {
                lines.Enqueue(line);
                if (ListeningLine().Match(line) is { Success: true } match)
                {
                    address.TrySetResult(match.Groups[1].Value);
                }
            }
        }

        process.OutputDataReceived += (_, e) => OnLine(e.Data);
        process.ErrorDataReceived += (_, e) => OnLine(e.Data);
        process.EnableRaisingEvents = true;
        process.Exited += (_, _) => address.TrySetException(new InvalidOperationException($"the engine exited:\n{string.Join('\n', lines)}"));
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return new EngineProcess(process, await address.Task.WaitAsync(TimeSpan.FromSeconds(60)));
    }

    public async ValueTask DisposeAsync()
    {
        if (!process.HasExited)
        {
            process.Kill();
            await process.WaitForExitAsync();
        }

        process.Dispose();
    }

    [GeneratedRegex(@"listening on (\S+)")]
    private static partial Regex ListeningLine();
}
