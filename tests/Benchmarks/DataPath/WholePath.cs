using System.Globalization;
using ScriptedServe.DataPathBenchmarks.Load;
using ScriptedServe.DataPathBenchmarks.Processes;

namespace ScriptedServe.DataPathBenchmarks;

/// <summary>
/// The host between a load generator and stub engines, through routers, beside nginx with the same bytes: interleaved in one run, because the machine
/// is noisy and only the ratios hold.
/// </summary>
internal sealed class WholePath(Options options, TimeProvider time) : IDisposable
{
    private const string PlainProxy = "nginx";
    private const string Direct = "direct to the stub";
    private const int FastStreams = 32;
    private const int PacedStreams = 256;
    private const int PaceMs = 20;
    private const int MostWarmUpRounds = 12;

    /// <summary>Of the time of a round, the compiler's that does not matter.</summary>
    private const double CompilingShare = 0.02;

    private readonly List<Target> _targets = [];
    private readonly List<IDisposable> _owned = [];

    /// <summary>Starts all processes and warms them up.</summary>
    public async Task StartAsync()
    {
        var root = Workload.Repository();
        var stub = Own(ChildProcess.Start(Environment.ProcessPath!, new Dictionary<string, string>(), Here("stub")));
        var engines = (await stub.ReadLineAsync()).Split(' ');
        var configuration = Path.GetFileName(Path.GetDirectoryName(AppContext.BaseDirectory.TrimEnd('/'))!);
        var host = Own(await HostUnderLoad.StartAsync(
            options.Host ?? Path.Combine(root, "host", "bin", configuration, "net10.0", "ScriptedServe.Host.dll"), Path.Combine(root, "scripts"), engines, new Dictionary<string, string>()));

        var recorded = Path.GetTempFileName();
        await File.WriteAllBytesAsync(recorded, await new EventStreams(host.Port, []).RecordAsync("/v1/chat/completions"));
        await stub.WriteLineAsync(recorded);
        var upstream = int.Parse(await stub.ReadLineAsync(), CultureInfo.InvariantCulture);
        File.Delete(recorded);

        _targets.Add(new Target(Direct, upstream, null, () => [], null));
        if (Nginx.Program is null)
        {
            Console.WriteLine("nginx is not installed (apt-get install nginx-light): measuring without it.");
        }
        else
        {
            var nginx = Own(await Nginx.StartAsync(upstream, time));
            _targets.Add(new Target(PlainProxy, nginx.Port, null, () => nginx.Pids, null));
        }

        foreach (var router in (string[])["data_parallel", "pd_disagg"])
        {
            _targets.Add(new Target($"host, {router}", host.Port, router, () => [host.Pid], host));
        }

        foreach (var target in _targets)
        {
            await WarmUpAsync(target);
        }
    }

    /// <summary>Until the host's compiler has little left to do: it competes with what is measured, for a minute on a busy machine.</summary>
    private async Task WarmUpAsync(Target target)
    {
        for (var round = 0; round < MostWarmUpRounds; round++)
        {
            var before = await CompiledAsync(target);
            await MeasureAsync(target, FastStreams, 0, new Report());
            await MeasureAsync(target, PacedStreams, PaceMs, new Report());
            if (await CompiledAsync(target) - before < CompilingShare * options.Seconds)
            {
                return;
            }
        }

        Console.WriteLine($"{target.Name}: still compiling after {MostWarmUpRounds} rounds.");
    }

    public async Task RunAsync()
    {
        var (fast, paced, first) = (new Report(), new Report(), new Report());
        for (var round = 0; round < options.Rounds; round++)
        {
            foreach (var target in _targets)
            {
                if (options.Only.Contains("throughput"))
                {
                    await MeasureAsync(target, FastStreams, 0, fast);
                }

                if (options.Only.Contains("paced"))
                {
                    await MeasureAsync(target, PacedStreams, PaceMs, paced);
                }

                if (options.Only.Contains("first"))
                {
                    await MeasureFirstAsync(target, first);
                }
            }
        }

        fast.Print($"{FastStreams} streams, back to back");
        paced.Print($"{PacedStreams} streams, a token every {PaceMs} ms");
        first.Print("one stream, time to first chunk");
    }

    public void Dispose()
    {
        foreach (var owned in Enumerable.Reverse(_owned))
        {
            owned.Dispose();
        }
    }

    private async Task MeasureAsync(Target target, int streams, int paceMs, Report report)
    {
        using var stop = new CancellationTokenSource();
        var load = new EventStreams(target.Port, Workload.Request(paceMs, target.Router));
        var running = load.RunAsync(streams, stop.Token);

        // Let all streams begin.
        await Task.Delay(TimeSpan.FromMilliseconds(300), time);
        var allocatedBefore = await AllocatedAsync(target);
        var (start, cpuBefore, eventsBefore, answersBefore) = (time.GetTimestamp(), ProcessCpu.Seconds(target.Pids()), load.Events, load.Answers);
        await Task.WhenAny(running, Task.Delay(TimeSpan.FromSeconds(options.Seconds), time));
        var (seconds, cpu, events, answers) = (time.GetElapsedTime(start).TotalSeconds, ProcessCpu.Seconds(target.Pids()) - cpuBefore, load.Events - eventsBefore, load.Answers - answersBefore);
        var allocated = await AllocatedAsync(target) - allocatedBefore;
        await stop.CancelAsync();
        await running;

        // Each answer has three events that are no tokens: the role, the finish reason and [DONE].
        var chunks = (double)events * Workload.Chunks / (Workload.Chunks + 3);
        if (target.Pids().Any())
        {
            report.Add(target.Name, "CPU s per 100k chunks", cpu / chunks * 100_000);
            if (report.Median(PlainProxy, "CPU s per 100k chunks") is { } plain)
            {
                report.Add(target.Name, "of nginx's", report.Median(target.Name, "CPU s per 100k chunks")!.Value / plain);
            }
        }

        report.Add(target.Name, "chunks/s", chunks / seconds);
        if (target.Host is not null)
        {
            report.Add(target.Name, "bytes allocated per chunk", allocated / chunks);
            report.Add(target.Name, "per request", allocated / answers);
        }
    }

    private async Task MeasureFirstAsync(Target target, Report report)
    {
        var load = new EventStreams(target.Port, Workload.Request(0, target.Router));
        var times = await load.FirstChunksAsync(options.Requests, time);
        times.Sort();
        report.Add(target.Name, "p50 ms", times[times.Count / 2].TotalMilliseconds);
        report.Add(target.Name, "p99 ms", times[times.Count * 99 / 100].TotalMilliseconds);
        report.Add(target.Name, "p50 ms added", times[times.Count / 2].TotalMilliseconds - report.Median(Direct, "p50 ms")!.Value);
    }

    private static async Task<double> AllocatedAsync(Target target) =>
        target.Host is null ? 0 : await target.Host.MetricAsync("dotnet_gc_allocated_bytes_total");

    private static async Task<double> CompiledAsync(Target target) =>
        target.Host is null ? 0 : await target.Host.MetricAsync("dotnet_jit_seconds_total");

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Add(owned);
        return owned;
    }

    /// <summary>This program again, as another command.</summary>
    private static string[] Here(string command) =>
        Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(WholePath).Assembly.Location, command] : [command];

    private sealed record Target(string Name, int Port, string? Router, Func<IEnumerable<int>> Pids, HostUnderLoad? Host);
}
