using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu.Ranks;

/// <summary>
/// A model on the CPU, divided among one rank or several: each has threads, weights and scratch memory of its own. Ranks load at the same time and compute
/// at the same time, and what they compute is, bit by bit, what one alone would.
/// </summary>
internal sealed unsafe class DecoderRanks : IDisposable
{
    private readonly RankThreads? _threads;
    private readonly WorkerTeam[] _teams;
    private readonly DecoderWeights?[] _weights;
    private readonly DecoderStep[] _steps;
    private readonly SumRelay? _relay;
    private readonly RankSums _sums;
    private readonly int _relaysOfStep;
    private readonly Action<int> _runRank;

    private DecoderRanks(DecoderConfig config, KvLayout layout, CpuRunnerOptions options, IReadOnlyList<RankShare> shares, Func<RankShare, WorkerTeam, DecoderWeights> load)
    {
        int ranks = shares.Count;
        KvShards = RankShare.KvShards(config, ranks);
        _steps = new DecoderStep[ranks];
        _weights = new DecoderWeights?[ranks];
        _teams = new WorkerTeam[ranks];
        _runRank = rank => _steps[rank].Run();
        _sums = new RankSums(config, options.MaxBatchTokens);
        _relaysOfStep = 2 * config.Layers;
        try
        {
            if (ranks > 1)
            {
                _threads = new RankThreads(ranks);
                _relay = new SumRelay(_threads, RankSums.MaxBlocks(config, options.MaxBatchTokens));
            }

            int threads = options.Threads / ranks;
            for (int rank = 0; rank < ranks; rank++)
            {
                _teams[rank] = new WorkerTeam(threads, [.. options.Processors.Skip(rank * threads).Take(threads)]);
            }

            OnEachRank(rank => _weights[rank] = load(shares[rank], _teams[rank]));
            var embeddings = new EmbeddingRows(_weights!);
            var kernels = GemmKernels.For(options.VectorWidth);
            for (int rank = 0; rank < ranks; rank++)
            {
                var place = new RankPlace(shares[rank], _threads, _relay is null ? null : new SumRelay.Place(_relay, rank), _sums);
                _steps[rank] = new DecoderStep(
                    config, _weights[rank]!, embeddings, _teams[rank], kernels, place, layout.Shard(KvShards), options.MaxBatchTokens);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>As many as the pool of a step must have.</summary>
    public int KvShards { get; }

    /// <summary>Bytes of weights that computing one token with its logits reads, on all ranks.</summary>
    public long BytesPerToken => _weights.Sum(weights => weights!.BytesPerToken);

    /// <summary>Other processes have the same physical memory for the weights.</summary>
    public bool WeightsShared => _weights.All(weights => weights!.Shared);

    /// <param name="config">Of the whole model.</param>
    /// <param name="options">Validated.</param>
    /// <param name="identity">Of the checkpoint.</param>
    /// <exception cref="ModelLoadException">A tensor is missing, has the wrong shape or type, or elements that are not finite.</exception>
    /// <exception cref="ArgumentException">The model cannot be divided among as many ranks, or a processor that the process may not use.</exception>
    public static DecoderRanks Load(DecoderConfig config, KvLayout layout, Checkpoint checkpoint, CpuRunnerOptions options, string identity)
    {
        // Once: it may make parts of tensors known to the checkpoint, which ranks read at the same time.
        config = config with { Names = config.Names.In(checkpoint, config) };
        var shares = RankShare.Divide(config, options.TensorParallel, options.Weights);
        return new DecoderRanks(config, layout, options, shares, (share, team) =>
            DecoderWeights.Load(config, share, checkpoint, options.Weights, team, options.WeightCache, identity));
    }

    /// <summary>Computes a validated step; see <see cref="IModelRunner.Forward"/>.</summary>
    public void Run(ReadOnlySpan<StepSlice> slices, KvPool pool, float* logits, ILayerObserver? observer)
    {
        foreach (var step in _steps)
        {
            step.Begin(slices, pool, logits, observer);
        }

        _relay?.BeginStep(_relaysOfStep);
        OnEachRank(_runRank);
    }

    public void Dispose()
    {
        _threads?.Dispose();
        foreach (var team in _teams)
        {
            team?.Dispose();
        }

        foreach (var step in _steps)
        {
            step?.Dispose();
        }

        foreach (var weights in _weights)
        {
            weights?.Dispose();
        }

        _relay?.Dispose();
        _sums.Dispose();
    }

    private void OnEachRank(Action<int> body)
    {
        if (_threads is null)
        {
            body(0);
        }
        else
        {
            _threads.Run(body);
        }
    }
}
