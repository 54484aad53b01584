using System.Globalization;

namespace ScriptedServe.DataPathBenchmarks.Processes;

/// <summary>The host as a user runs it, with stub engines attached.</summary>
internal sealed class HostUnderLoad : IDisposable
{
    private readonly ChildProcess _process;
    private readonly HttpClient _client;

    private HostUnderLoad(ChildProcess process, Uri url)
    {
        _process = process;
        _client = new HttpClient { BaseAddress = url };
    }

    public int Port => _client.BaseAddress!.Port;

    public int Pid => _process.Id;

    /// <param name="program">The host's assembly.</param>
    /// <param name="environment">For the runtime's settings.</param>
    public static async Task<HostUnderLoad> StartAsync(string program, string scripts, IEnumerable<string> engines, IReadOnlyDictionary<string, string> environment)
    {
        var process = ChildProcess.Start(
            "dotnet", environment, [program, "serve", "--port", "0", "--model", "synthetic", "--scripts", scripts, .. engines.SelectMany(engine => (string[])["--engine", engine])]);
        var line = await process.ReadUntilAsync("ScriptedServe is ready on ");
        process.IgnoreOutput();
        return new HostUnderLoad(process, new Uri(line[line.IndexOf("http", StringComparison.Ordinal)..]));
    }

    /// <summary>A number of /metrics.</summary>
    public async Task<double> MetricAsync(string name)
    {
        var text = await _client.GetStringAsync(new Uri("/metrics", UriKind.Relative));
        var line = text.Split('\n').First(line => line.StartsWith(name + " ", StringComparison.Ordinal));
        return double.Parse(line[(name.Length + 1)..], CultureInfo.InvariantCulture);
    }

    public void Dispose()
    {
        _client.Dispose();
        _process.Dispose();
    }
}
