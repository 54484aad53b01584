using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>What one GPU has of a model: all of it, or a rank's share. Owns the GPU, its part in the group, and everything on it.</summary>
internal sealed class CudaRank : IDisposable
{
    private readonly CudaWeights _weights;

    /// <param name="gpu">Has the kernels of <see cref="CudaModelLoader.KernelsOf"/>; taken over, as <paramref name="collective"/> is, also where this fails.</param>
    /// <param name="config">Of the whole model.</param>
    /// <param name="collective">Null for a model that is not divided.</param>
    public CudaRank(
        IGpu gpu, DecoderConfig config, Checkpoint checkpoint, ModelKernels kernels, KvLayout layout, RankShare share, ICollective? collective, ManyRowProducts many, StepLimits limits)
    {
        (Gpu, Share, Collective) = (gpu, share, collective);
        try
        {
            _weights = CudaWeights.Load(gpu, config, checkpoint, kernels, share);
            var own = share.Of(config);
            Inputs = new StepInputs(gpu, limits, layout, own.GroupSize, StepKernels.UnitTokens(own.HeadStride));
            Step = new CudaStep(gpu, own, _weights, kernels, Inputs, layout.ElementBytes, collective, many, limits);
            Graphs = new StepGraphs(gpu);
            Logits = new LogitMemory(gpu, limits.Sequences, config.VocabSize, share.IsWhole ? 0 : share.OfVocabulary(config).Count);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public IGpu Gpu { get; }

    public RankShare Share { get; }

    public ICollective? Collective { get; }

    public StepInputs Inputs { get; }

    public CudaStep Step { get; }

    public StepGraphs Graphs { get; }

    public LogitMemory Logits { get; }

    public void Dispose()
    {
        Graphs?.Dispose();
        Step?.Dispose();
        Inputs?.Dispose();
        Logits?.Dispose();
        _weights?.Dispose();
        Collective?.Dispose();
        Gpu.Dispose();
    }
}

/// <summary>Where the logits of a step come to be on one GPU.</summary>
internal sealed class LogitMemory : IDisposable
{
    /// <param name="part">Columns that the GPU computes itself; 0: all.</param>
    public LogitMemory(IGpu gpu, int rows, int vocab, int part)
    {
        Whole = gpu.Allocate((long)rows * vocab * sizeof(float));
        try
        {
            Part = part == 0 ? null : gpu.Allocate((long)rows * part * sizeof(float));
            Tokens = part == 0 ? null : gpu.Allocate((long)rows * sizeof(int));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>[rows, vocab] f32.</summary>
    public IGpuMemory Whole { get; }

    /// <summary>[rows, part] f32; null where the model is not divided.</summary>
    public IGpuMemory? Part { get; }

    /// <summary>[rows]: tokens that the first rank chose, as the others have them; null where the model is not divided.</summary>
    public IGpuMemory? Tokens { get; }

    public void Dispose()
    {
        Whole.Dispose();
        Part?.Dispose();
        Tokens?.Dispose();
    }
}
