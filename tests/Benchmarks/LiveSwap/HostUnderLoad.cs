using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace ScriptedServe.LiveSwapBenchmark;

/// <summary>What is read of the host: memory that is really in use, that of its compiler's process, and how many script load contexts are alive.</summary>
internal sealed record HostReading(double ResidentMiB, double CompilerMiB, double HeapMiB, double CommittedMiB, int LoadContexts);

/// <summary>A host process with its engines over a private copy of <c>scripts/</c> and a data directory of its own.</summary>
internal sealed partial class HostUnderLoad : IAsyncDisposable
{
    private readonly Process _process;
    private readonly string _folder;

    private HostUnderLoad(Process process, string folder, Uri url)
    {
        _process = process;
        _folder = folder;
        Client = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 1024 }) { BaseAddress = url, Timeout = TimeSpan.FromMinutes(5) };
    }

    public HttpClient Client { get; }

    public string Scripts => Path.Combine(_folder, "scripts");

    /// <summary>Starts the Release build of the host and waits until it is ready.</summary>
    public static async Task<HostUnderLoad> StartAsync(string[] arguments)
    {
        var repository = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(repository.FullName, "ScriptedServe.sln")))
        {
            repository = repository.Parent ?? throw new InvalidOperationException("run this inside the repository");
        }

        var folder = Directory.CreateTempSubdirectory("scriptedserve-swap-").FullName;
        Directory.CreateDirectory(Path.Combine(folder, "scripts"));
        foreach (var file in Directory.GetFiles(Path.Combine(repository.FullName, "scripts")))
        {
            File.Copy(file, Path.Combine(folder, "scripts", Path.GetFileName(file)));
        }

        var binary = Path.Combine(repository.FullName, "host", "bin", "Release", "net10.0", "ScriptedServe.Host.dll");
        var start = new ProcessStartInfo("dotnet", [binary, "serve", "--port", "0", "--scripts", Path.Combine(folder, "scripts"), .. arguments])
        {
            RedirectStandardOutput = true,
            WorkingDirectory = folder,
        };
        start.Environment["SCRIPTEDSERVE_DATA"] = Path.Combine(folder, "data");
        var process = Process.Start(start)!;
        Uri? url = null;
        while (url is null)
        {
            var line = await process.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException($"the host ended with {process.ExitCode}; is it built? ({binary})");
            url = Address().Match(line) is { Success: true } match ? new Uri(match.Value) : null;
        }

        _ = DrainAsync(process.StandardOutput);
        var host = new HostUnderLoad(process, folder, url);
        while (!(await host.Client.GetAsync("/ready")).IsSuccessStatusCode)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System);
        }

        return host;
    }

    public async Task<JsonNode> GetAsync(string path) => JsonNode.Parse(await Client.GetStringAsync(path))!;

    public async Task<HostReading> ReadAsync()
    {
        var metrics = (await Client.GetStringAsync(new Uri("/metrics", UriKind.Relative))).Split('\n');
        return new HostReading(
            Resident(_process.Id.ToString(CultureInfo.InvariantCulture)), Children().Where(child => File.ReadAllText($"/proc/{child}/cmdline").Contains("compiler-process", StringComparison.Ordinal)).Sum(Resident), MiB("dotnet_gc_heap_bytes"), MiB("dotnet_gc_committed_bytes"), (int)(await GetAsync("/admin/routers"))["load_contexts"]!);

        IEnumerable<string> Children() => Directory.GetDirectories($"/proc/{_process.Id}/task")
            .SelectMany(thread => File.ReadAllText(Path.Combine(thread, "children")).Split(' ', StringSplitOptions.RemoveEmptyEntries));

        static double Resident(string process) => double.Parse(
            File.ReadLines($"/proc/{process}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024;

        double MiB(string name) => double.Parse(metrics.First(line => line.StartsWith(name + " ", StringComparison.Ordinal))[(name.Length + 1)..], CultureInfo.InvariantCulture) / (1 << 20);
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        using (var kill = Process.Start("kill", ["-TERM", _process.Id.ToString(CultureInfo.InvariantCulture)]))
        {
            await kill.WaitForExitAsync();
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static async Task DrainAsync(StreamReader output)
    {
        while (await output.ReadLineAsync() is not null)
        {
        }
    }

    [GeneratedRegex(@"http://127\.0\.0\.1:[1-9]\d*")]
    private static partial Regex Address();
}
