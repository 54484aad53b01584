using System.Diagnostics;

namespace ScriptedServe.EndToEnd.Tests.Support;

/// <summary>A command of the host's program, run to its end in a terminal's place.</summary>
public sealed record CommandRun(int ExitCode, string Output, string Errors)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    public static async Task<CommandRun> Of(params string[] arguments)
    {
        using var process = new Process
        {
            StartInfo = new ProcessStartInfo("dotnet", [BuildOutput.Of("host", "ScriptedServe.Host"), .. arguments])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                WorkingDirectory = Path.GetTempPath(),
            },
        };
        process.Start();
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var limit = new CancellationTokenSource(Limit);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new InvalidOperationException($"'{string.Join(' ', arguments)}' did not end:\n{await output}{await errors}");
        }

        return new CommandRun(process.ExitCode, await output, await errors);
    }
}
