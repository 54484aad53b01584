using System.Globalization;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;

namespace ScriptedServe.DataPathBenchmarks.Layers;

/// <summary>
/// What a script costs a request: the same requests through a compiled script, and through the same code as part of this program, without network,
/// text or JSON, one after the other. Nothing else runs in the process, so its CPU time and allocations are those of the requests.
/// </summary>
internal sealed class ScriptLayer(Options options, TimeProvider time)
{
    private const int Requests = 1_000;

    /// <summary>Of a round: the difference is a few microseconds, and one slice is off by more where the machine does something else.</summary>
    private const int Slices = 20;

    public async Task RunAsync(string scripts)
    {
        await using var host = await InMemoryHost.StartAsync(scripts, time);
        var report = new Report();
        for (var slice = -2 * Slices; slice < options.Rounds * Slices; slice++)
        {
            foreach (var router in CompiledRouters.Names)
            {
                var plain = await MeasureAsync(host.Unscripted, router);
                var scripted = await MeasureAsync(host.Scripted, router);
                if (slice >= 0)
                {
                    Add(report, $"{router}, part of the program", plain);
                    Add(report, $"{router}, script", scripted);
                    report.Add($"{router}, the script itself", "CPU us per request", scripted.Us - plain.Us);
                    report.Add($"{router}, the script itself", "bytes per request", scripted.Bytes - plain.Bytes);
                }
            }
        }

        report.Print($"{Workload.Chunks} chunks a request, runner to engine");
    }

    private static void Add(Report report, string row, (double Us, double Bytes) cost)
    {
        report.Add(row, "CPU us per request", cost.Us);
        report.Add(row, "bytes per request", cost.Bytes);
    }

    private static async Task<(double Us, double Bytes)> MeasureAsync(RequestRunner runner, string router)
    {
        await RunAllAsync(runner, router, Requests / 20);
        var (cpu, bytes) = (Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes(precise: true));
        await RunAllAsync(runner, router, Requests);
        return ((Environment.CpuUsage.TotalTime - cpu).TotalMicroseconds / Requests, (GC.GetTotalAllocatedBytes(precise: true) - bytes) / (double)Requests);
    }

    private static async Task RunAllAsync(RequestRunner runner, string router, int requests)
    {
        int[] prompt = [.. Enumerable.Range(0, Workload.PromptWords)];
        var sampling = new Sampling { MaxTokens = Workload.Chunks };
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        for (var i = 0; i < requests; i++)
        {
            await RunAsync(runner, new RequestSpec("req-" + i.ToString(CultureInfo.InvariantCulture), prompt, sampling, headers, router, Deadline: null));
        }
    }

    private static async Task RunAsync(RequestRunner runner, RequestSpec spec)
    {
        await using var running = runner.Start(spec);
        var tokens = 0;
        await foreach (var chunk in running.Chunks(CancellationToken.None))
        {
            tokens += chunk.Tokens.Length;
        }

        if (tokens != Workload.Chunks)
        {
            throw new InvalidOperationException($"a request had {tokens} tokens");
        }
    }
}
