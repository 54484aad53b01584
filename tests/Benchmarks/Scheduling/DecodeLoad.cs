using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Service;
using ScriptedServe.KvTransport;

namespace ScriptedServe.SchedulingBenchmark;

/// <summary>
/// An engine of the synthetic model in which a number of sequences decode, each read as its tokens come, all on the caller's thread. The model's own time is
/// taken off the steps'.
/// </summary>
internal sealed class DecodeLoad : IDisposable
{
    private const int PromptTokens = 24;
    private const int Rounds = 80;
    private const int StepsOfRound = 16;
    private const int WarmUpRounds = 20;
    private const int MostSteps = (Rounds + WarmUpRounds) * StepsOfRound + 64;

    private readonly TimedRunner _runner;
    private readonly KvPool _pool;
    private readonly EngineCore _core;
    private readonly SamplingParameters _parameters;
    private readonly List<IAsyncEnumerator<GenerateChunk>> _readers = [];
    private readonly CancellationTokenSource _stop = new();

    public DecodeLoad(int sequences, int vocab, Sampling sampling)
    {
        var model = new SyntheticModel { Vocab = vocab, Context = 1 << 16, Layers = 1, HeadDim = 2 };
        var time = TimeProvider.System;
        _runner = new TimedRunner(new SyntheticModelRunner(model, pageTokens: 16, maxBatchTokens: 65536, spend: null), time);
        _pool = SharedKvPool.Create(_runner.Layout, sequences * ((MostSteps / 16) + 4), epoch: 1);
        _core = new EngineCore(
            _runner, _pool, new NoReceiver(), new EngineLimits { MaxSequences = sequences, MaxBatchTokens = 65536 }, new EngineIdentity("bench", 1, [], "cpu"), time);
        var service = new EngineService(_core, new NoSender(), time);
        _parameters = new SamplingParameters
        {
            Temperature = sampling.Temperature,
            TopP = sampling.HasTopP ? sampling.TopP : 1,
            Logprobs = sampling.HasLogprobs ? sampling.Logprobs : null,
        };
        TouchAllPages(service, vocab);
        for (int i = 0; i < sequences; i++)
        {
            var request = new StartGenerateRequest { RequestId = $"r{i}", TokenIds = { Enumerable.Range(i, PromptTokens).Select(token => token % vocab) }, Sampling = sampling.Clone() };
            request.Sampling.MaxTokens = MostSteps;
            request.Sampling.Seed = (ulong)i;
            _readers.Add(service.StartGenerateAsync(request, _stop.Token).GetAsyncEnumerator());
        }

        // The first call of a reader submits its request; its chunk comes with the step.
        var first = _readers.ConvertAll(reader => reader.MoveNextAsync().AsTask());
        _ = _core.Step();
        Task.WaitAll(first);
    }

    /// <returns>Microseconds of a step and of reading its chunks; bytes allocated for a token by both.</returns>
    public (double StepUs, double ReadingUs, double Bytes) Measure()
    {
        var (bestStep, bestReading, leastBytes) = (double.MaxValue, double.MaxValue, double.MaxValue);
        for (int round = -WarmUpRounds; round < Rounds; round++)
        {
            var (step, reading) = (TimeSpan.Zero, TimeSpan.Zero);
            _runner.Spent = TimeSpan.Zero;
            long bytes = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < StepsOfRound; i++)
            {
                long start = TimeProvider.System.GetTimestamp();
                _ = _core.Step();
                step += TimeProvider.System.GetElapsedTime(start);
                start = TimeProvider.System.GetTimestamp();
                Read();
                reading += TimeProvider.System.GetElapsedTime(start);
            }

            bytes = GC.GetAllocatedBytesForCurrentThread() - bytes;
            if (round >= 0)
            {
                bestStep = Math.Min(bestStep, (step - _runner.Spent).TotalMicroseconds / StepsOfRound);
                bestReading = Math.Min(bestReading, reading.TotalMicroseconds / StepsOfRound);
                leastBytes = Math.Min(leastBytes, bytes / (double)(StepsOfRound * _readers.Count));
            }
        }

        return (bestStep, bestReading, leastBytes);
    }

    /// <summary>Microseconds that choosing a token for each sequence takes by itself.</summary>
    public double MeasureSampling()
    {
        var sampler = new Sampler(_runner.Model.VocabSize);
        double best = double.MaxValue;
        for (int round = -WarmUpRounds; round < Rounds; round++)
        {
            long start = TimeProvider.System.GetTimestamp();
            for (int i = 0; i < _readers.Count; i++)
            {
                _ = sampler.Sample(_runner.Logits.AsSpan(i * _runner.Model.VocabSize, _runner.Model.VocabSize), _parameters, null, round + 100, i);
            }

            best = Math.Min(best, TimeProvider.System.GetElapsedTime(start).TotalMicroseconds);
        }

        return best;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _core.Dispose();
        _pool.Dispose();
        _stop.Dispose();
    }

    /// <summary>Once in the cache, a page has its place there for good.</summary>
    private void TouchAllPages(EngineService service, int vocab)
    {
        int tokensLeft = _pool.Pages * _pool.Layout.PageTokens;
        for (int i = 0; tokensLeft > 1; i++)
        {
            int tokens = Math.Min(tokensLeft - 1, (1 << 16) - 32);
            tokensLeft -= tokens + _pool.Layout.PageTokens;
            var request = new StartGenerateRequest { RequestId = $"touch{i}", TokenIds = { Enumerable.Range(i, tokens).Select(token => (token * (i + 1)) % vocab) }, Sampling = new Sampling { MaxTokens = 1 } };
            var reader = service.StartGenerateAsync(request, _stop.Token).GetAsyncEnumerator();
            var next = reader.MoveNextAsync().AsTask();
            while (_core.Step())
            {
            }

            next.Wait();
        }
    }

    // Each has its chunk already, so that nothing is awaited and no other thread comes into it.
    private void Read()
    {
        foreach (var reader in _readers)
        {
            var next = reader.MoveNextAsync();
            if (!next.IsCompletedSuccessfully || !next.Result)
            {
                throw new InvalidOperationException("A sequence has no token after a step");
            }
        }
    }

    /// <summary>The runner, with a clock, and the logits of the last step.</summary>
    private sealed class TimedRunner(IModelRunner runner, TimeProvider time) : IModelRunner
    {
        public TimeSpan Spent { get; set; }

        public float[] Logits { get; private set; } = [];

        public ModelDescription Model => runner.Model;

        public KvLayout Layout => runner.Layout;

        public void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer)
        {
            long start = time.GetTimestamp();
            runner.Forward(slices, pool, logits, observer);
            if (Logits.Length != logits.Length)
            {
                Logits = logits.ToArray();
            }

            Spent += time.GetElapsedTime(start);
        }

        public void Dispose() => runner.Dispose();
    }
}
