using System.Diagnostics;

namespace ScriptedServe.Tests.Support;

/// <summary>The npm packages of tests/interop, installed on first use, and Node processes that run its scripts.</summary>
public static class NodePeers
{
    private static readonly Lazy<Task> s_installed = new(() => Task.Run(Install));

    public static string Folder => TestPaths.InRepository("tests", "interop");

    /// <summary>Installs what package-lock.json says, unless that is installed already. Other test processes wait their turn.</summary>
    public static Task InstallAsync() => s_installed.Value;

    /// <summary>Runs a script of tests/interop to its end and returns its standard output.</summary>
    public static async Task<string> RunAsync(string script, params string[] arguments)
    {
        await using var node = await StartAsync(script, arguments);
        return await node.ReadToEndAsync();
    }

    public static async Task<NodeProcess> StartAsync(string script, params string[] arguments)
    {
        await InstallAsync();
        return new NodeProcess(Path.Combine(Folder, script), arguments);
    }

    private static void Install()
    {
        using var turn = new Mutex(initiallyOwned: false, "scriptedserve-interop-" + Environment.UserName);
        try
        {
            turn.WaitOne();
        }
        catch (AbandonedMutexException)
        {
            // A test process was killed while installing; the stamp below tells whether it had finished.
        }

        try
        {
            var wanted = File.ReadAllText(Path.Combine(Folder, "package-lock.json"));
            var stamp = Path.Combine(Folder, "node_modules", ".installed-lock");
            if (File.Exists(stamp) && File.ReadAllText(stamp) == wanted)
            {
                return;
            }

            using var npm = Process.Start(new ProcessStartInfo("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            {
                WorkingDirectory = Folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            var error = npm.StandardError.ReadToEndAsync();
            _ = npm.StandardOutput.ReadToEnd();
            npm.WaitForExit();
            if (npm.ExitCode != 0)
            {
                throw new InvalidOperationException($"npm ci in {Folder} ended with {npm.ExitCode}: {error.Result}");
            }

            File.WriteAllText(stamp, wanted);
        }
        finally
        {
            turn.ReleaseMutex();
        }
    }
}

/// <summary>A Node process that ends, at the latest, with its disposal.</summary>
public sealed class NodeProcess : IAsyncDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);
    private readonly Process _process;
    private readonly Task<string> _errors;

    internal NodeProcess(string script, string[] arguments)
    {
        _process = Process.Start(new ProcessStartInfo("node", [script, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        _errors = _process.StandardError.ReadToEndAsync();
    }

    /// <summary>The next line of standard output; fails with what the process wrote to standard error if there is none.</summary>
    public async Task<string> ReadLineAsync() =>
        await _process.StandardOutput.ReadLineAsync().WaitAsync(s_patience) ?? throw new InvalidOperationException("The node script ended early: " + await _errors);

    /// <summary>All of standard output; fails if the process does.</summary>
    public async Task<string> ReadToEndAsync()
    {
        var output = await _process.StandardOutput.ReadToEndAsync().WaitAsync(s_patience);
        await _process.WaitForExitAsync().WaitAsync(s_patience);
        return _process.ExitCode == 0 ? output : throw new InvalidOperationException($"The node script ended with {_process.ExitCode}: {await _errors}");
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
    }
}
