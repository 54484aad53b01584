using System.Globalization;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Service;
using ScriptedServe.SchedulingBenchmark;

namespace ScriptedServe.GpuChecks;

/// <summary>For how long the GPU has nothing to do between two steps of decoding, by marks on the GPU itself: a whole engine in this process, whose callers read on other threads.</summary>
internal static class HostGap
{
    private const int PageTokens = 16, PromptTokens = 512, Generated = 160, Sequences = 64;

    public static async Task<IEnumerable<string>> RunAsync(string folder, Func<ModelKernels, IGpu> open, int vocab, Bars bars, TimeProvider time)
    {
        TimedGpu? gpu = null;
        var options = new CudaRunnerOptions { PageTokens = PageTokens, MaxBatchTokens = 2048, MaxSequences = Sequences, MaxContextTokens = PromptTokens + Generated };
        using var runner = CudaModelLoader.Load(folder, options, kernels => gpu = new TimedGpu(open(kernels)));
        using var pool = runner.CreatePool(Sequences * ((PromptTokens + Generated) / PageTokens + 2), epoch: 1);
        var lines = new List<string>();
        foreach (int sequences in (int[])[1, Sequences])
        {
            foreach (bool overlap in (bool[])[false, true])
            {
                var limits = new EngineLimits { MaxSequences = sequences, MaxBatchTokens = options.MaxBatchTokens, OverlapSteps = overlap };
                var gaps = await MeasureAsync(new EngineCore(runner, pool, new NoReceiver(), limits, new EngineIdentity("gap", 1, [], "cuda:0"), time), gpu!, sequences, vocab, time);
                double median = gaps[gaps.Count / 2].TotalMicroseconds, late = gaps[gaps.Count * 99 / 100].TotalMicroseconds;
                string line = string.Create(
                    CultureInfo.InvariantCulture,
                    $"gap between steps of decoding {sequences} sequences, {(overlap ? "next step launched ahead" : "one by one")}: median {median:F1} us, 99th percentile {late:F1} us, of {gaps.Count}");
                lines.Add(overlap ? bars.AtMost(line, median, 50, "us") : line);
            }
        }

        return lines;
    }

    /// <returns>Ascending.</returns>
    private static async Task<List<TimeSpan>> MeasureAsync(EngineCore core, TimedGpu gpu, int sequences, int vocab, TimeProvider time)
    {
        using (core)
        {
            using (var loop = new EngineLoop(core))
            {
                var service = new EngineService(core, new NoSender(), time);

                // The first time records the steps; the second begins with all prompts in the cache.
                await GenerateAsync(service, sequences, vocab, "warm");
                core.Commands.Post(() => gpu.IsTiming = true);
                await GenerateAsync(service, sequences, vocab, "timed");
            }

            gpu.IsTiming = false;
            var gaps = gpu.TakeGaps();
            gaps.Sort();
            return gaps;
        }
    }

    private static Task GenerateAsync(EngineService service, int sequences, int vocab, string name) => Task.WhenAll(Enumerable.Range(0, sequences).Select(i => Task.Run(async () =>
    {
        var request = new StartGenerateRequest
        {
            RequestId = $"{name}{i}",
            TokenIds = { Enumerable.Range(0, PromptTokens).Select(token => (int)((token * 7919L + i * 104729L + 3) % vocab)) },
            Sampling = new Sampling { Temperature = 0, MaxTokens = Generated, IgnoreEos = true },
        };
        await foreach (var _ in service.StartGenerateAsync(request, CancellationToken.None))
        {
        }
    })));
}
