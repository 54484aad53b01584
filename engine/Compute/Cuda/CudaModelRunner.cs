using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// Runs a Hugging Face model folder on a GPU, over a <see cref="CudaKvPool"/> of that GPU, or divided among several, over a <see cref="CudaShardedPool"/>. Steps of decoding alone are recorded as graphs, one
/// for each <see cref="StepBucket"/>; what a step needs goes to the device in one copy, and the chosen tokens, or the logits, come back in one; a step that goes on with tokens that are being chosen finds them on
/// the device. On one GPU every sum runs in one order, whatever is computed beside it and whether a token is decoded or part of a prompt; several add up what each has of it. Owns the GPUs.
/// </summary>
internal sealed unsafe class CudaModelRunner : ISamplingRunner
{
    private readonly IReadOnlyList<CudaRank> _ranks;

    /// <summary>Null for one rank.</summary>
    private readonly RankThreads? _threads;
    private readonly IGpu _gpu;
    private readonly CudaSampler _sampler;
    private readonly StepRules _rules;
    private readonly StepLimits _limits;

    /// <summary>The end of each step under way; a step has the areas of pinned memory of its turn.</summary>
    private readonly IGpuMark[] _done = new IGpuMark[ISamplingRunner.MostUnderWay];
    private long _launched, _collected;
    private int _lastChoices;
    private IGpuMemory? _hostLogits;
    private bool _disposed;

    private CudaModelRunner(ModelDescription model, KvLayout layout, IReadOnlyList<CudaRank> ranks, StepLimits limits)
    {
        (Model, Layout, _ranks, _gpu, _limits) = (model, layout, ranks, ranks[0].Gpu, limits);
        _rules = new StepRules(model, layout, limits.Rows, "MaxBatchTokens");
        CudaSampler? sampler = null;
        try
        {
            _sampler = sampler = new CudaSampler(_gpu, model.VocabSize, limits.Sequences);
            for (int turn = 0; turn < _done.Length; turn++)
            {
                _done[turn] = _gpu.CreateMark();
            }

            _threads = ranks.Count == 1 ? null : new RankThreads(ranks.Count) { OnFailure = Abort };
            OnRanks(rank => _ranks[rank].Step.Tune(limits.Rows));
        }
        catch
        {
            _threads?.Dispose();
            DisposeMarks();
            sampler?.Dispose();
            throw;
        }
    }

    public ModelDescription Model { get; }

    public KvLayout Layout { get; }

    public KvPool CreatePool(int pages, ulong epoch)
    {
        if (_ranks.Count == 1)
        {
            return new CudaKvPool(_gpu, Layout, pages);
        }

        var parts = new List<CudaKvPool>();
        try
        {
            foreach (var rank in _ranks)
            {
                parts.Add(new CudaKvPool(rank.Gpu, Layout.Shard(_ranks.Count), pages));
            }

            return new CudaShardedPool(Layout, pages, parts);
        }
        catch
        {
            parts.ForEach(part => part.Dispose());
            throw;
        }
    }

    /// <summary>A model that is not divided.</summary>
    public static CudaModelRunner Load(
        IGpu gpu, ModelDescription model, KvLayout layout, DecoderConfig config, Checkpoint checkpoint, ModelKernels kernels, StepLimits limits, ManyRowProducts many = ManyRowProducts.Own) =>
        Load([gpu], [RankShare.Whole], model, layout, config, checkpoint, kernels, limits, many);

    /// <param name="gpus">One for each share, with the kernels of <see cref="CudaModelLoader.KernelsOf"/>; taken over, also where this fails.</param>
    public static CudaModelRunner Load(
        IReadOnlyList<IGpu> gpus, IReadOnlyList<RankShare> shares, ModelDescription model, KvLayout layout, DecoderConfig config, Checkpoint checkpoint, ModelKernels kernels, StepLimits limits, ManyRowProducts many)
    {
        var ranks = new List<CudaRank>();
        IReadOnlyList<ICollective?> parts = [null];
        int taken = 0;
        try
        {
            // Once: it may make parts of tensors known to the checkpoint.
            config = config with { Names = config.Names.In(checkpoint, config) };
            parts = gpus.Count == 1 ? parts : gpus[0].Join([.. gpus.Skip(1)]);
            foreach (var share in shares)
            {
                taken++;
                ranks.Add(new CudaRank(gpus[share.Rank], config, checkpoint, kernels, layout, share, parts[share.Rank], many, limits));
            }

            return new CudaModelRunner(model, layout, ranks, limits);
        }
        catch
        {
            ranks.ForEach(rank => rank.Dispose());
            for (int rank = taken; rank < gpus.Count; rank++)
            {
                parts.ElementAtOrDefault(rank)?.Dispose();
                gpus[rank].Dispose();
            }

            throw;
        }
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As <see cref="CpuModelRunner.Forward"/>, or the pool is not in the memory of a GPU.</exception>
    public void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int wanted = _rules.Check(slices, pool, logits);
        EnsureRoom(wanted);
        EnsureTurn();
        Begin(slices, pool, [], observer);
        if (wanted > 0)
        {
            // Only those who look at logits have this.
            var logitsOfStep = _ranks[0].Logits.Whole;
            _hostLogits ??= _gpu.AllocatePinned(logitsOfStep.Bytes);
            _gpu.Download(logitsOfStep, 0, (void*)_hostLogits.Value, (long)wanted * Model.VocabSize * sizeof(float));
            _gpu.Wait();
            new ReadOnlySpan<float>((void*)_hostLogits.Value, logits.Length).CopyTo(logits);
        }
        else
        {
            _gpu.Wait();
        }
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As <see cref="Forward"/>, or there are not as many choices as slices that want logits.</exception>
    public void Launch(ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<TokenChoice> choices, ILayerObserver? observer)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int wanted = _rules.Check(slices, pool, _lastChoices);
        if (choices.Length != wanted)
        {
            throw new ArgumentException($"{choices.Length} choices for {wanted} slices that want logits", nameof(choices));
        }

        EnsureRoom(wanted);
        EnsureTurn();
        _lastChoices = 0;
        try
        {
            Begin(slices, pool, choices, observer);
            if (wanted > 0)
            {
                _sampler.Read(choices, Turn);
            }

            _gpu.Set(_done[Turn]);
        }
        catch
        {
            Settle();
            throw;
        }

        (_launched, _lastChoices) = (_launched + 1, wanted);
    }

    public void Collect()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_collected == _launched)
        {
            throw new InvalidOperationException("no step is under way");
        }

        _gpu.WaitFor(_done[_collected++ % _done.Length]);
    }

    public SampledToken Chosen(int choice) => _sampler.Chosen(choice, (int)((_collected + _done.Length - 1) % _done.Length));

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (_collected < _launched)
        {
            Settle();
        }

        _threads?.Dispose();
        DisposeMarks();
        _sampler.Dispose();
        _hostLogits?.Dispose();
        foreach (var rank in _ranks)
        {
            rank.Dispose();
        }
    }

    private int Turn => (int)(_launched % _done.Length);

    private void EnsureRoom(int wanted)
    {
        if (wanted > _limits.Sequences)
        {
            throw new ArgumentException($"{wanted} slices want logits; MaxSequences allows {_limits.Sequences}");
        }
    }

    private void EnsureTurn()
    {
        if (_launched - _collected == _done.Length)
        {
            throw new InvalidOperationException($"{_done.Length} steps are under way: collect one first");
        }
    }

    /// <summary>Until nothing is under way. Never throws: who calls has another failure to tell, or nobody to tell it.</summary>
    private void Settle()
    {
        foreach (var rank in _ranks)
        {
            try
            {
                rank.Gpu.Wait();
            }
            catch (Exception)
            {
                // A GPU whose work failed does nothing any more.
            }
        }
    }

    private void DisposeMarks()
    {
        foreach (var mark in _done)
        {
            mark?.Dispose();
        }
    }

    /// <summary>Gives a step to the GPUs, and the choice of tokens if there are choices.</summary>
    private void Begin(ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<TokenChoice> choices, ILayerObserver? observer)
    {
        if (_ranks.Count == 1 ? pool is not CudaKvPool : pool is not CudaShardedPool)
        {
            throw new ArgumentException($"the pool is a {pool.GetType().Name}; this runner computes over a {(_ranks.Count == 1 ? nameof(CudaKvPool) : nameof(CudaShardedPool))}", nameof(pool));
        }

        bool decodes = observer is null;
        foreach (ref readonly var slice in slices)
        {
            decodes &= slice.Count == 1 && slice.WantsLogits;
        }

        var bucket = StepBucket.For(slices.Length, _ranks[0].Inputs.UnitsOf(slices), _limits.Rows, samples: choices.Length > 0);
        // Units of sequences that share pages may be more than the working area has room for.
        decodes &= bucket.Units <= _limits.Units;
        if (choices.Length > 0)
        {
            _sampler.Place(choices, Turn, decodes ? bucket.Rows : choices.Length);
        }

        if (_threads is null)
        {
            BeginRank(0, slices, (CudaKvPool)pool, decodes ? bucket : null, choices.Length, observer);
            return;
        }

        var (all, sharded, chosen) = (slices.ToArray(), (CudaShardedPool)pool, choices.Length);
        OnRanks(rank => BeginRank(rank, all, sharded.Part(rank), decodes ? bucket : null, chosen, observer));
    }

    /// <param name="decodes">The size of a step that is recorded; null for one that is not.</param>
    private void BeginRank(int rank, ReadOnlySpan<StepSlice> slices, CudaKvPool pool, StepBucket? decodes, int choices, ILayerObserver? observer)
    {
        if (decodes is { } bucket)
        {
            Decode(rank, slices, pool, bucket);
        }
        else
        {
            Compute(rank, slices, pool, choices, observer);
        }
    }

    /// <summary>One token of each sequence: by a recorded step of the next larger size.</summary>
    private void Decode(int index, ReadOnlySpan<StepSlice> slices, CudaKvPool pool, StepBucket bucket)
    {
        var rank = _ranks[index];
        rank.Inputs.Place(slices, Turn, bucket.Rows, bucket.Units);
        rank.Graphs.Run(
            bucket,
            (nint)pool.PagePointer(0, 0),
            () =>
            {
                rank.Step.Launch(pool, bucket.Rows, bucket.Rows, bucket.Rows, bucket.Units, rank.Logits, TokensOf(index), layerDone: null);
                Choose(index, bucket.Samples ? bucket.Rows : 0);
            });
    }

    private void Compute(int index, ReadOnlySpan<StepSlice> slices, CudaKvPool pool, int choices, ILayerObserver? observer)
    {
        var rank = _ranks[index];
        rank.Inputs.Place(slices, Turn);
        Action<int>? layerDone = observer is null ? null : layer =>
        {
            // Given to the GPU, not yet computed: who is told loads the pages by way of a staging area, which waits for the mark of each rank.
            pool.LayerWritten(layer);
            _threads?.Meet();
            if (index == 0)
            {
                observer.LayerDone(layer);
            }
        };
        rank.Step.Launch(pool, rank.Inputs.Rows, rank.Inputs.DecodeRows, rank.Inputs.LogitRows, rank.Inputs.Units, rank.Logits, TokensOf(index), layerDone);
        Choose(index, choices);
    }

    /// <summary>The first rank chooses tokens; the others get them, for a step that goes on with them.</summary>
    private void Choose(int index, int rows)
    {
        if (rows > 0)
        {
            if (index == 0)
            {
                _sampler.Launch(_ranks[0].Logits.Whole, rows);
            }

            _ranks[index].Collective?.Broadcast(TokensOf(index).Value, (long)rows * sizeof(int));
        }
    }

    private IGpuMemory TokensOf(int index) => index == 0 ? _sampler.Tokens : _ranks[index].Logits.Tokens!;

    private void OnRanks(Action<int> body)
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

    /// <summary>What one rank has not been given the others wait for in vain.</summary>
    private void Abort()
    {
        foreach (var rank in _ranks)
        {
            rank.Collective?.Abort();
        }
    }
}
