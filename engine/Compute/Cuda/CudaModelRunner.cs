using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// Runs a Hugging Face model folder on a GPU, over a <see cref="CudaKvPool"/> of that GPU. Steps of decoding alone are recorded as graphs, one for each <see cref="StepBucket"/>; what a
/// step needs goes to the device in one copy, and the chosen tokens, or the logits, come back in one; a step that goes on with tokens that are being chosen finds them on the device. Every sum runs in one order, whatever is computed beside it and whether a token is decoded or part of a
/// prompt. Owns the GPU.
/// </summary>
internal sealed unsafe class CudaModelRunner : ISamplingRunner
{
    private readonly IGpu _gpu;
    private readonly CudaWeights _weights;
    private readonly StepInputs _inputs;
    private readonly CudaStep _step;
    private readonly CudaSampler _sampler;
    private readonly StepGraphs _graphs;
    private readonly StepRules _rules;
    private readonly int _maxRows;

    /// <summary>The end of each step under way; a step has the areas of pinned memory of its turn.</summary>
    private readonly IGpuMark[] _done = new IGpuMark[ISamplingRunner.MostUnderWay];
    private long _launched, _collected;
    private int _lastChoices;
    private IGpuMemory _logits;
    private IGpuMemory _hostLogits;
    private int _logitRows = 1;
    private bool _disposed;

    private CudaModelRunner(IGpu gpu, ModelDescription model, KvLayout layout, DecoderConfig config, CudaWeights weights, ModelKernels kernels, int maxRows)
    {
        (_gpu, Model, Layout, _weights, _maxRows) = (gpu, model, layout, weights, maxRows);
        _rules = new StepRules(model, layout, maxRows, "MaxBatchTokens");
        StepInputs? inputs = null;
        CudaStep? step = null;
        CudaSampler? sampler = null;
        try
        {
            _inputs = inputs = new StepInputs(gpu, maxRows, layout.PageTokens, config.GroupSize, StepKernels.UnitTokens(config.HeadStride));
            _step = step = new CudaStep(gpu, config, weights, kernels, inputs, layout.ElementBytes, maxRows);
            _sampler = sampler = new CudaSampler(gpu, model.VocabSize);
            _graphs = new StepGraphs(gpu);
            for (int turn = 0; turn < _done.Length; turn++)
            {
                _done[turn] = gpu.CreateMark();
            }

            (_logits, _hostLogits) = AllocateLogits(1);
        }
        catch
        {
            DisposeMarks();
            sampler?.Dispose();
            step?.Dispose();
            inputs?.Dispose();
            throw;
        }
    }

    public ModelDescription Model { get; }

    public KvLayout Layout { get; }

    public KvPool CreatePool(int pages, ulong epoch) => new CudaKvPool(_gpu, Layout, pages);

    /// <param name="gpu">Has the kernels of <see cref="CudaModelLoader.KernelsOf"/>; taken over, also where this fails.</param>
    public static CudaModelRunner Load(IGpu gpu, ModelDescription model, KvLayout layout, DecoderConfig config, Checkpoint checkpoint, ModelKernels kernels, int maxBatchTokens)
    {
        CudaWeights? weights = null;
        try
        {
            weights = CudaWeights.Load(gpu, config, checkpoint, kernels);
            return new CudaModelRunner(gpu, model, layout, config, weights, kernels, maxBatchTokens);
        }
        catch
        {
            weights?.Dispose();
            gpu.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As <see cref="CpuModelRunner.Forward"/>, or the pool is not in the memory of a GPU.</exception>
    public void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int wanted = _rules.Check(slices, pool, logits);
        EnsureTurn();
        Begin(slices, pool, [], observer);
        if (wanted > 0)
        {
            _gpu.Download(_logits, 0, (void*)_hostLogits.Value, (long)wanted * Model.VocabSize * sizeof(float));
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

        DisposeMarks();
        _graphs.Dispose();
        _sampler.Dispose();
        _step.Dispose();
        _inputs.Dispose();
        _logits.Dispose();
        _hostLogits.Dispose();
        _weights.Dispose();
        _gpu.Dispose();
    }

    private int Turn => (int)(_launched % _done.Length);

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
        try
        {
            _gpu.Wait();
        }
        catch (Exception)
        {
            // A GPU whose work failed does nothing any more.
        }
    }

    private void DisposeMarks()
    {
        foreach (var mark in _done)
        {
            mark?.Dispose();
        }
    }

    /// <summary>Gives a step to the GPU, and the choice of tokens if there are choices.</summary>
    private void Begin(ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<TokenChoice> choices, ILayerObserver? observer)
    {
        if (pool is not CudaKvPool own)
        {
            throw new ArgumentException($"the pool is a {pool.GetType().Name}; this runner computes over a {nameof(CudaKvPool)}", nameof(pool));
        }

        bool decodes = observer is null;
        foreach (ref readonly var slice in slices)
        {
            decodes &= slice.Count == 1 && slice.WantsLogits;
        }

        if (decodes)
        {
            Decode(slices, own, choices);
        }
        else
        {
            Compute(slices, own, choices, observer);
        }
    }

    /// <summary>One token of each sequence: by a recorded step of the next larger size.</summary>
    private void Decode(ReadOnlySpan<StepSlice> slices, CudaKvPool pool, ReadOnlySpan<TokenChoice> choices)
    {
        var bucket = StepBucket.For(slices.Length, _inputs.UnitsOf(slices), _maxRows, samples: choices.Length > 0);
        _inputs.Place(slices, Turn, bucket.Rows, bucket.Units);
        if (bucket.Samples)
        {
            _sampler.Place(choices, Turn, bucket.Rows);
        }

        _step.Reserve(bucket.Units);
        int moved = ReserveLogits(bucket.Rows);
        _graphs.Run(
            bucket,
            ((nint)pool.PagePointer(0, 0), _inputs.Generation + _step.Generation + _sampler.Generation + moved),
            () =>
            {
                _step.Launch(pool, bucket.Rows, bucket.Rows, bucket.Rows, bucket.Units, _logits, _sampler.Tokens, layerDone: null);
                if (bucket.Samples)
                {
                    _sampler.Launch(_logits, bucket.Rows);
                }
            });
    }

    private void Compute(ReadOnlySpan<StepSlice> slices, CudaKvPool pool, ReadOnlySpan<TokenChoice> choices, ILayerObserver? observer)
    {
        _inputs.Place(slices, Turn);
        _step.Reserve(_inputs.Units);
        _ = ReserveLogits(_inputs.LogitRows);
        Action<int>? layerDone = observer is null ? null : layer =>
        {
            // Given to the GPU, not yet computed: who is told loads the pages by way of a staging area, which waits for the mark.
            pool.LayerWritten(layer);
            observer.LayerDone(layer);
        };
        _step.Launch(pool, _inputs.Rows, _inputs.DecodeRows, _inputs.LogitRows, _inputs.Units, _logits, _sampler.Tokens, layerDone);
        if (choices.Length > 0)
        {
            _sampler.Place(choices, Turn, choices.Length);
            _sampler.Launch(_logits, choices.Length);
        }
    }

    /// <returns>Grows with each move.</returns>
    private int ReserveLogits(int rows)
    {
        if (rows > _logitRows)
        {
            _gpu.Wait();
            var (device, host) = AllocateLogits(rows);
            _logits.Dispose();
            _hostLogits.Dispose();
            (_logits, _hostLogits, _logitRows) = (device, host, rows);
        }

        return _logitRows;
    }

    private (IGpuMemory Device, IGpuMemory Host) AllocateLogits(int rows)
    {
        long bytes = (long)rows * Model.VocabSize * sizeof(float);
        var device = _gpu.Allocate(bytes);
        try
        {
            return (device, _gpu.AllocatePinned(bytes));
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }
}
