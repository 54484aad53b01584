using ScriptedServe.ComputeBenchmarks.Peer;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Service;

namespace ScriptedServe.SchedulingBenchmark;

/// <summary>What the host leaves of a GPU's time between steps of decoding: the real engine and CUDA runner over a <see cref="PacedGpu"/>. Reading the chunks, which in serving others do, is not counted.</summary>
internal static class DeviceLoad
{
    private const int PageTokens = 16, Rounds = 40, StepsOfRound = 16, WarmUpRounds = 20, MostSteps = (Rounds + WarmUpRounds) * StepsOfRound + 64;

    private static readonly TimeSpan StepTime = TimeSpan.FromMicroseconds(1000);

    /// <returns>Microseconds of a step: what the GPU has nothing to do, and what the host works; the best round.</returns>
    public static (double GapUs, double HostUs) Measure(int sequences, bool overlap, Sampling sampling)
    {
        var shape = new LlamaShape("paced", Layers: 2, Hidden: 64, Heads: 4, KvHeads: 2, FeedForward: 96, Vocab: 1024);
        var folder = Directory.CreateTempSubdirectory("scheduling-benchmark-");
        try
        {
            HuggingFaceFolder.Write(shape, folder.FullName, wide: false);
            var time = TimeProvider.System;
            var gpu = new PacedGpu(time, StepTime);
            var options = new CudaRunnerOptions { PageTokens = PageTokens, MaxBatchTokens = 8192, MaxSequences = sequences };
            using var runner = CudaModelLoader.Load(folder.FullName, options, _ => gpu);
            using var pool = runner.CreatePool(sequences * ((MostSteps / PageTokens) + 4), epoch: 1);
            var limits = new EngineLimits { MaxSequences = sequences, MaxBatchTokens = options.MaxBatchTokens, OverlapSteps = overlap };
            using var core = new EngineCore(runner, pool, new NoReceiver(), limits, new EngineIdentity("bench", 1, [], "cuda:0"), time);
            var service = new EngineService(core, new NoSender(), time);
            using var stop = new CancellationTokenSource();
            var readers = Enumerable.Range(0, sequences).Select(i => service.StartGenerateAsync(Request(i, sampling), stop.Token).GetAsyncEnumerator()).ToList();
            var first = readers.ConvertAll(reader => reader.MoveNextAsync().AsTask());
            _ = core.Step();
            _ = core.Step();
            Task.WaitAll(first);

            var (gaps, hosts) = (new List<double>(), new List<double>());
            for (int round = -WarmUpRounds; round < Rounds; round++)
            {
                var (idle, waited, inSteps) = (gpu.Idle, gpu.Waited, TimeSpan.Zero);
                for (int i = 0; i < StepsOfRound; i++)
                {
                    long start = time.GetTimestamp();
                    _ = core.Step();
                    inSteps += time.GetElapsedTime(start);
                    start = time.GetTimestamp();
                    Read(readers, core);
                    gpu.Skip(start);
                }

                if (round >= 0)
                {
                    gaps.Add((gpu.Idle - idle).TotalMicroseconds / StepsOfRound);
                    hosts.Add((inSteps - (gpu.Waited - waited)).TotalMicroseconds / StepsOfRound);
                }
            }

            stop.Cancel();
            return (gaps.Min(), hosts.Min());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static StartGenerateRequest Request(int i, Sampling sampling)
    {
        var request = new StartGenerateRequest { RequestId = $"r{i}", TokenIds = { Enumerable.Range(i, 24) }, Sampling = sampling.Clone() };
        (request.Sampling.MaxTokens, request.Sampling.Seed) = (MostSteps, (ulong)i);
        return request;
    }

    private static void Read(List<IAsyncEnumerator<GenerateChunk>> readers, EngineCore core)
    {
        foreach (var reader in readers)
        {
            var next = reader.MoveNextAsync();
            if (!next.IsCompletedSuccessfully || !next.Result)
            {
                throw new InvalidOperationException($"A sequence has no token after a step: {core.Status.Current.Load}");
            }
        }
    }
}
