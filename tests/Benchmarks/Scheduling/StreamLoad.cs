using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Service;
using ScriptedServe.KvTransport;

namespace ScriptedServe.SchedulingBenchmark;

/// <summary>What a token allocates in all of the process where, as in serving, the engine has a thread of its own and readers wait on the pool's.</summary>
internal static class StreamLoad
{
    private const int WarmTokens = 3_000;
    private const int MeasuredTokens = 4_000;

    /// <returns>Bytes for each token that was read.</returns>
    public static async Task<double> MeasureAsync(int sequences, int vocab)
    {
        var model = new SyntheticModel { Vocab = vocab, Context = 1 << 16, Layers = 1, HeadDim = 2 };
        using var runner = new SyntheticModelRunner(model, pageTokens: 16, maxBatchTokens: 65536, spend: null);
        using var pool = SharedKvPool.Create(runner.Layout, sequences * (((WarmTokens + MeasuredTokens) / 16) + 8), epoch: 1);
        using var core = new EngineCore(
            runner, pool, new NoReceiver(), new EngineLimits { MaxSequences = sequences, MaxBatchTokens = 65536 }, new EngineIdentity("bench", 1, [], "cpu"), TimeProvider.System);
        using var loop = new EngineLoop(core);
        var service = new EngineService(core, new NoSender(), TimeProvider.System);

        // Twice the same length, so that every page has had its place in the cache when it is measured.
        _ = await RunAsync(service, sequences, vocab, "warm");
        return await RunAsync(service, sequences, vocab, "measured");
    }

    private static async Task<double> RunAsync(EngineService service, int sequences, int vocab, string name)
    {
        var (warm, bytesBefore) = (0, 0L);
        await Task.WhenAll(Enumerable.Range(0, sequences).Select(async i =>
        {
            var request = new StartGenerateRequest
            {
                RequestId = $"{name}{i}",
                TokenIds = { Enumerable.Range(i, 24).Select(token => (token + name.Length) % vocab) },
                Sampling = new Sampling { Temperature = 0, MaxTokens = WarmTokens + MeasuredTokens },
            };
            var tokens = 0;
            await foreach (var chunk in service.StartGenerateAsync(request, CancellationToken.None))
            {
                tokens += chunk.TokenIds.Count;
                if (tokens == WarmTokens && Interlocked.Increment(ref warm) == sequences)
                {
                    bytesBefore = GC.GetTotalAllocatedBytes(precise: true);
                }
            }
        }));
        return (GC.GetTotalAllocatedBytes(precise: true) - bytesBefore) / (double)(sequences * MeasuredTokens);
    }
}
