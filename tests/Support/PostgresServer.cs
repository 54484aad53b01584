using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace ScriptedServe.Tests.Support;

/// <summary>A PostgreSQL server of a test's own: a new cluster in a temporary folder, on a free port of this machine. It can be stopped and started again.</summary>
public sealed class PostgresServer : IAsyncDisposable
{
    private readonly string folder;
    private readonly int port;

    private PostgresServer(string folder, int port) => (this.folder, this.port) = (folder, port);

    /// <summary>Of the superuser, for <c>--store</c>.</summary>
    public string Url => $"postgres://tester:secret-word@127.0.0.1:{port}/postgres";

    /// <summary>What is missing, or null.</summary>
    public static string? WhyUnavailable() =>
        Binaries() is null ? "needs PostgreSQL (apt-get install postgresql)"
        : IsRoot && !File.ReadLines("/etc/passwd").Any(line => line.StartsWith("postgres:", StringComparison.Ordinal)) ? "needs a user postgres, because PostgreSQL does not run as root"
        : null;

    public static async Task<PostgresServer> StartAsync()
    {
        var folder = Directory.CreateTempSubdirectory("ss-pg-").FullName;
        await File.WriteAllTextAsync(Path.Combine(folder, "password"), "secret-word");
        if (IsRoot)
        {
            await RunAsync("chown", "-R", "postgres", folder);
        }

        var server = new PostgresServer(folder, FreePort());
        await AsOwnerAsync("initdb", "-D", server.Data, "-U", "tester", "--pwfile", Path.Combine(folder, "password"), "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C");
        await server.ResumeAsync();
        return server;
    }

    public Task ResumeAsync() => AsOwnerAsync(
        "pg_ctl", "start", "-w", "-s", "-D", Data, "-l", Path.Combine(folder, "log"),
        "-o", string.Create(CultureInfo.InvariantCulture, $"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"));

    /// <summary>Ends the server without waiting for its clients.</summary>
    public Task StopAsync() => AsOwnerAsync("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", Data);

    public async ValueTask DisposeAsync()
    {
        if (File.Exists(Path.Combine(Data, "postmaster.pid")))
        {
            await StopAsync();
        }

        Directory.Delete(folder, recursive: true);
    }

    private string Data => Path.Combine(folder, "data");

    private static bool IsRoot => Environment.UserName == "root";

    private static string? Binaries() =>
        (Directory.Exists("/usr/lib/postgresql") ? Directory.GetDirectories("/usr/lib/postgresql").OrderByDescending(version => version, StringComparer.Ordinal).Select(version => Path.Combine(version, "bin")) : [])
        .Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator))
        .FirstOrDefault(bin => File.Exists(Path.Combine(bin, "initdb")) && File.Exists(Path.Combine(bin, "pg_ctl")));

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static Task AsOwnerAsync(string program, params string[] arguments)
    {
        var full = Path.Combine(Binaries() ?? throw new InvalidOperationException(WhyUnavailable()), program);
        return IsRoot ? RunAsync("runuser", ["-u", "postgres", "--", full, .. arguments]) : RunAsync(full, arguments);
    }

    /// <summary>Its output goes to a file: a server it leaves behind would keep a pipe open.</summary>
    private static async Task RunAsync(string program, params string[] arguments)
    {
        var output = Path.GetTempFileName();
        try
        {
            using var process = new Process { StartInfo = new ProcessStartInfo("/bin/sh") { WorkingDirectory = Path.GetTempPath() } };
            foreach (var argument in (string[])["-c", "out=$1; shift; exec \"$@\" >\"$out\" 2>&1", "sh", output, program, .. arguments])
            {
                process.StartInfo.ArgumentList.Add(argument);
            }

            process.Start();
            await process.WaitForExitAsync();
            if (process.ExitCode != 0)
            {
                throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} failed: {await File.ReadAllTextAsync(output)}");
            }
        }
        finally
        {
            File.Delete(output);
        }
    }
}
