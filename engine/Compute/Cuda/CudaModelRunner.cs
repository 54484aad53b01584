using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// Runs a Hugging Face model folder on a GPU, over a <see cref="CudaKvPool"/> of that GPU. Steps of decoding alone are recorded as graphs, one for each <see cref="StepBucket"/>; what a
/// step needs goes to the device in one copy, and the logits come back in one. Every sum runs in an order that does not depend on the other rows; but a token that was decoded
/// and one that was computed as part of a prompt differ in rounding. Owns the GPU.
/// </summary>
internal sealed unsafe class CudaModelRunner : IModelRunner
{
    private readonly IGpu _gpu;
    private readonly CudaWeights _weights;
    private readonly StepInputs _inputs;
    private readonly CudaStep _step;
    private readonly StepGraphs _graphs;
    private readonly StepRules _rules;
    private readonly int _maxRows;
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
        try
        {
            _inputs = inputs = new StepInputs(gpu, maxRows, layout.PageTokens, config.GroupSize);
            _step = step = new CudaStep(gpu, config, weights, kernels, inputs, layout.ElementBytes, maxRows);
            _graphs = new StepGraphs(gpu);
            (_logits, _hostLogits) = AllocateLogits(1);
        }
        catch
        {
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
            weights = CudaWeights.Load(gpu, config, checkpoint, kernels.Compute);
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
            Decode(slices, own);
        }
        else
        {
            Compute(slices, own, observer);
        }

        if (wanted > 0)
        {
            long bytes = (long)wanted * Model.VocabSize * sizeof(float);
            _gpu.Download(_logits, 0, (void*)_hostLogits.Value, bytes);
            _gpu.Wait();
            new ReadOnlySpan<float>((void*)_hostLogits.Value, logits.Length).CopyTo(logits);
        }
        else
        {
            _gpu.Wait();
        }
    }

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _graphs.Dispose();
        _step.Dispose();
        _inputs.Dispose();
        _logits.Dispose();
        _hostLogits.Dispose();
        _weights.Dispose();
        _gpu.Dispose();
    }

    /// <summary>One token of each sequence: by a recorded step of the next larger size.</summary>
    private void Decode(ReadOnlySpan<StepSlice> slices, CudaKvPool pool)
    {
        int longest = 0;
        foreach (ref readonly var slice in slices)
        {
            longest = Math.Max(longest, slice.Position + 1);
        }

        var bucket = StepBucket.For(slices.Length, CudaStep.SplitsOf(longest), _maxRows);
        _inputs.Place(slices, paddedRows: bucket.Rows);
        _step.Reserve(bucket.Rows, bucket.Splits);
        int moved = ReserveLogits(bucket.Rows);
        _graphs.Run(
            bucket,
            ((nint)pool.PagePointer(0, 0), _inputs.Generation + _step.Generation + moved),
            () => _step.Launch(pool, bucket.Rows, bucket.Rows, bucket.Rows, bucket.Splits, _logits, layerDone: null));
    }

    private void Compute(ReadOnlySpan<StepSlice> slices, CudaKvPool pool, ILayerObserver? observer)
    {
        _inputs.Place(slices);
        int splits = CudaStep.SplitsOf(_inputs.LongestDecode);
        _step.Reserve(_inputs.DecodeRows, splits);
        _ = ReserveLogits(_inputs.LogitRows);
        Action<int>? layerDone = observer is null ? null : layer =>
        {
            // Given to the GPU, not yet computed: who is told loads the pages by way of a staging area, which waits for the mark.
            pool.LayerWritten(layer);
            observer.LayerDone(layer);
        };
        _step.Launch(pool, _inputs.Rows, _inputs.DecodeRows, _inputs.LogitRows, splits, _logits, layerDone);
    }

    /// <returns>Grows with each move.</returns>
    private int ReserveLogits(int rows)
    {
        if (rows > _logitRows)
        {
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
