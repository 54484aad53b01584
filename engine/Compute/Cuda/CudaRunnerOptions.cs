using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>How a GPU computes; the model folder says what.</summary>
internal sealed record CudaRunnerOptions
{
    /// <summary>Tokens of a KV page.</summary>
    public int PageTokens { get; init; } = 16;

    /// <summary>What keys and values are kept as; null: what the GPU computes in.</summary>
    public KvDataType? KvDataType { get; init; }

    /// <summary>Most tokens of one step; sizes the memory that a step needs.</summary>
    public int MaxBatchTokens { get; init; } = 512;

    /// <summary>Most sequences of one step.</summary>
    public int MaxSequences { get; init; } = 64;

    /// <summary>Longest context served, if the model's own is longer.</summary>
    public int MaxContextTokens { get; init; } = 131072;

    /// <summary>Auto (16 bits: f16 where the folder has it, else bf16), bf16, int8 or fp8; not f32.</summary>
    public WeightFormat Weights { get; init; }

    /// <summary>GPUs that the model is divided among.</summary>
    public int TensorParallel { get; init; } = 1;

    /// <summary>What multiplies many rows with weights.</summary>
    public ManyRowProducts ManyRows { get; init; }

    /// <summary>Bytes of the KV pool that will be made, on all GPUs together, so that all of what is needed can be told before the first of it is loaded.</summary>
    public long KvMemoryBytes { get; init; }
}
