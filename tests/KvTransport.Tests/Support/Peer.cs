using System.Diagnostics;

namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>This assembly as another process; see <see cref="Program"/>. Disposing kills it.</summary>
internal sealed class Peer : IDisposable
{
    private readonly Process _process;

    public Peer(params string[] arguments) =>
        _process = Process.Start(new ProcessStartInfo(Environment.ProcessPath!.EndsWith("dotnet", StringComparison.Ordinal) ? Environment.ProcessPath : "dotnet", [typeof(Peer).Assembly.Location, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;

    public async Task<string> AskAsync(string line)
    {
        await _process.StandardInput.WriteLineAsync(line);
        await _process.StandardInput.FlushAsync();
        return await AnswerAsync();
    }

    public async Task<string> AnswerAsync() => await _process.StandardOutput.ReadLineAsync().Soon() ?? throw new InvalidOperationException("The other process has ended.");

    /// <summary>SIGKILL: it has no chance to tidy up.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync().Soon();
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
    }
}
