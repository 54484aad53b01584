using System.Collections.Concurrent;
using System.Diagnostics;

namespace ScriptedServe.Tests.Support;

/// <summary>The npm packages of a folder of tests/, installed on first use, and Node processes that run its scripts.</summary>
public static class NodePeers
{
    private static readonly ConcurrentDictionary<string, Lazy<Task>> s_installed = new();

    /// <summary>Installs what package-lock.json says, unless that is installed already. Other test processes wait their turn.</summary>
    /// <param name="folder">A folder of tests/.</param>
    public static Task InstallAsync(string folder = "interop") =>
        s_installed.GetOrAdd(TestPaths.InRepository("tests", folder), path => new Lazy<Task>(() => Task.Run(() => Install(path)))).Value;

    /// <summary>Runs a script to its end and returns its standard output.</summary>
    /// <param name="script">A file of tests/interop, or with the folder of tests/ it is in: "interop-text/peer.mjs".</param>
    public static async Task<string> RunAsync(string script, params string[] arguments)
    {
        await using var node = await StartAsync(script, arguments);
        return await node.ReadToEndAsync();
    }

    public static async Task<NodeProcess> StartAsync(string script, params string[] arguments)
    {
        var folder = Path.GetDirectoryName(script) is { Length: > 0 } given ? given : "interop";
        await InstallAsync(folder);
        return new NodeProcess(TestPaths.InRepository("tests", folder, Path.GetFileName(script)), arguments);
    }

    private static void Install(string folder)
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
            var wanted = File.ReadAllText(Path.Combine(folder, "package-lock.json"));
            var stamp = Path.Combine(folder, "node_modules", ".installed-lock");
            if (File.Exists(stamp) && File.ReadAllText(stamp) == wanted)
            {
                return;
            }

            using var npm = Process.Start(new ProcessStartInfo("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            {
                WorkingDirectory = folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            var error = npm.StandardError.ReadToEndAsync();
            _ = npm.StandardOutput.ReadToEnd();
            npm.WaitForExit();
            if (npm.ExitCode != 0)
            {
                throw new InvalidOperationException($"npm ci in {folder} ended with {npm.ExitCode}: {error.Result}");
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
