using System.Diagnostics;
using System.Globalization;
using ScriptedServe.ComputeBenchmarks.Peer;
using ScriptedServe.Engine.Compute;

namespace ScriptedServe.ComputeBenchmarks;

/// <summary>
/// Whether engines on the same processors fight: decode of one process alone, in turns with two such processes at a time. Each has as many threads as
/// told, so with one a processor they are twice too many together; the two should still decode as many tokens as the one.
/// </summary>
internal static class NeighbourBenchmark
{
    private const int Rounds = 7;
    private const int Generated = 64;
    private static readonly TimeSpan RunTime = TimeSpan.FromSeconds(2);

    public static async Task RunAsync(string folder, int threads)
    {
        Samples alone = new(), together = new();
        for (int round = 0; round < Rounds; round++)
        {
            alone.Add(await DecodeInProcessesAsync(folder, threads, 1));
            together.Add([(await DecodeInProcessesAsync(folder, threads, 2)).Sum()]);
        }

        Console.WriteLine($"decode, {threads} threads a process, tokens/s: one process {alone}, two together {together}, ratio {Samples.Show(together.Median / alone.Median)}");
    }

    /// <summary>What a process does: says that it is ready, waits for a line, decodes, and writes its tokens a second.</summary>
    public static void Decode(string folder, int threads)
    {
        var time = TimeProvider.System;
        using var ours = new OurModel(time, folder, WeightFormat.Auto, threads, Generated, Generated);
        _ = ours.Decode(1, Generated);
        Console.WriteLine("ready");
        _ = Console.ReadLine();
        long start = time.GetTimestamp();
        int tokens = 0;
        for (; time.GetElapsedTime(start) < RunTime; tokens += Generated)
        {
            _ = ours.Decode(1, Generated);
        }

        Console.WriteLine((tokens / time.GetElapsedTime(start).TotalSeconds).ToString(CultureInfo.InvariantCulture));
    }

    private static async Task<IReadOnlyList<double>> DecodeInProcessesAsync(string folder, int threads, int count)
    {
        var processes = new List<Process>();
        try
        {
            for (int i = 0; i < count; i++)
            {
                var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardInput = true, RedirectStandardOutput = true };
                start.ArgumentList.Add(typeof(NeighbourBenchmark).Assembly.Location);
                start.ArgumentList.Add("decode");
                start.ArgumentList.Add(folder);
                start.ArgumentList.Add(threads.ToString(CultureInfo.InvariantCulture));
                processes.Add(Process.Start(start)!);
            }

            foreach (var process in processes)
            {
                _ = await process.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("a decoding process ended early");
            }

            processes.ForEach(process => process.StandardInput.WriteLine());
            var speeds = new List<double>();
            foreach (var process in processes)
            {
                string line = await process.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("a decoding process ended early");
                speeds.Add(double.Parse(line, CultureInfo.InvariantCulture));
                await process.WaitForExitAsync();
            }

            return speeds;
        }
        finally
        {
            foreach (var process in processes)
            {
                if (!process.HasExited)
                {
                    process.Kill();
                }

                process.Dispose();
            }
        }
    }
}
