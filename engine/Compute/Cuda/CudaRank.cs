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
    private readonly DecoderConfig _config;
    private int _logitRows = 1;

    /// <param name="gpu">Has the kernels of <see cref="CudaModelLoader.KernelsOf"/>; taken over, as <paramref name="collective"/> is, also where this fails.</param>
    /// <param name="config">Of the whole model.</param>
    /// <param name="collective">Null for a model that is not divided.</param>
    public CudaRank(
        IGpu gpu, DecoderConfig config, Checkpoint checkpoint, ModelKernels kernels, KvLayout layout, RankShare share, ICollective? collective, ManyRowProducts many, int maxRows)
    {
        (Gpu, _config, Share, Collective) = (gpu, config, share, collective);
        try
        {
            _weights = CudaWeights.Load(gpu, config, checkpoint, kernels, share);
            var own = share.Of(config);
            Inputs = new StepInputs(gpu, maxRows, layout.PageTokens, own.GroupSize, StepKernels.UnitTokens(own.HeadStride));
            Step = new CudaStep(gpu, own, _weights, kernels, Inputs, layout.ElementBytes, collective, many, maxRows);
            Graphs = new StepGraphs(gpu);
            Logits = AllocateLogits(1);
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

    /// <summary>[rows, vocab] of the whole vocabulary; moved by <see cref="ReserveLogits"/>.</summary>
    public LogitMemory Logits { get; private set; }

    /// <summary>Changes when memory has moved that launches name.</summary>
    public int Generation => Inputs.Generation + Step.Generation + _logitRows;

    /// <returns>Whether they moved; nothing may be under way then, which is waited for.</returns>
    public bool ReserveLogits(int rows)
    {
        if (rows <= _logitRows)
        {
            return false;
        }

        Gpu.Wait();
        var logits = AllocateLogits(rows);
        if (Logits.Tokens is { } tokens)
        {
            // The step before may feed this one.
            Gpu.Copy(tokens, 0, logits.Tokens!, 0, tokens.Bytes);
            Gpu.Wait();
        }

        Logits.Dispose();
        (Logits, _logitRows) = (logits, rows);
        return true;
    }

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

    private LogitMemory AllocateLogits(int rows) => new(Gpu, rows, _config.VocabSize, Share.IsWhole ? 0 : Share.OfVocabulary(_config).Count);
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
