using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute;

/// <summary>What weights are kept as in memory.</summary>
public enum WeightFormat
{
    /// <summary>As the folder has them; F16 as f32.</summary>
    Auto,

    /// <summary>As f32: the same results as <see cref="Auto"/>.</summary>
    Float32,

    /// <summary>Rounded to bf16.</summary>
    BFloat16,

    /// <summary>Rounded to 8 bits, in groups of 32 inputs with a scale each: 8.5 bits a weight. Embeddings and outputs too; norms, biases and routers of experts are not.</summary>
    Int8,

    /// <summary>Rounded to FP8 (e4m3) in groups as <see cref="Int8"/>. On GPUs alone.</summary>
    Float8,
}

/// <summary>How the CPU computes; the model folder says what.</summary>
public sealed record CpuRunnerOptions
{
    /// <summary>
    /// Ranks that the model is divided among, each with its own heads, its part of the weights and as many of the threads. 1..64; default 1. Changes where
    /// things lie, never results.
    /// </summary>
    public int TensorParallel { get; init; } = 1;

    /// <summary>Threads that compute, the caller's included; a multiple of <see cref="TensorParallel"/>. 1..256; default: one a processor.</summary>
    public int Threads { get; init; } = Math.Min(Environment.ProcessorCount, 256);

    /// <summary>
    /// One processor for each thread, which runs on it alone, the one that calls <see cref="IModelRunner.Forward"/> on the first; the first ranks have the first ones.
    /// Linux only. Empty, the default: threads go where the system puts them.
    /// </summary>
    public IReadOnlyList<int> Processors { get; init; } = [];

    /// <summary>Tokens of a KV page. 1..4096; default 16.</summary>
    public int PageTokens { get; init; } = 16;

    /// <summary>What keys and values are kept as. Computing is in f32 with all of them; those of 16 bits are rounded as they are stored. Default f32.</summary>
    public KvDataType KvDataType { get; init; } = KvDataType.Float32;

    /// <summary>Most tokens of one step; sizes the scratch memory. 1..65536; default 512.</summary>
    public int MaxBatchTokens { get; init; } = 512;

    /// <summary>
    /// Longest context served, in tokens, if the model's own is longer; sizes the scratch memory of attention. 1..16777216; default 131072.
    /// </summary>
    public int MaxContextTokens { get; init; } = 131072;

    /// <summary>What weights are kept as. Default: as in the folder.</summary>
    public WeightFormat Weights { get; init; } = WeightFormat.Auto;

    /// <summary>Where packed weights are kept for the next start and for other processes. Null, the default: nowhere.</summary>
    public Caching.WeightCache? WeightCache { get; init; }

    /// <summary>Vector width of the matrix kernels; default: the machine's best. Changes speed, never results.</summary>
    public Kernels.VectorWidth VectorWidth { get; init; } = Kernels.VectorWidths.Best;

    /// <exception cref="ArgumentException">Names every value out of range.</exception>
    public void Validate()
    {
        var errors = new List<string>();
        Check(errors, nameof(Threads), Threads, 256);
        Check(errors, nameof(PageTokens), PageTokens, 4096);
        Check(errors, nameof(MaxBatchTokens), MaxBatchTokens, 65536);
        Check(errors, nameof(MaxContextTokens), MaxContextTokens, 1 << 24);
        Check(errors, nameof(TensorParallel), TensorParallel, 64);
        if (Weights == WeightFormat.Float8)
        {
            errors.Add($"{nameof(Weights)} is {Weights}, which GPUs alone have");
        }

        if (TensorParallel > 0 && Threads % TensorParallel != 0)
        {
            errors.Add($"{nameof(Threads)} is {Threads}, must be a multiple of {nameof(TensorParallel)}, {TensorParallel}");
        }

        if (!Enum.IsDefined(VectorWidth))
        {
            errors.Add($"{nameof(VectorWidth)} {(int)VectorWidth} is not a vector width");
        }

        if (!Enum.IsDefined(KvDataType))
        {
            errors.Add($"{nameof(KvDataType)} {(int)KvDataType} is not a KV type");
        }

        if (!Enum.IsDefined(Weights))
        {
            errors.Add($"{nameof(Weights)} {(int)Weights} is not a weight format");
        }

        if (Processors.Count != 0 && Processors.Count != Threads)
        {
            errors.Add($"{nameof(Processors)} are {Processors.Count}, for {Threads} {nameof(Threads)}");
        }

        if (errors.Count > 0)
        {
            throw new ArgumentException(string.Join("; ", errors));
        }
    }

    private static void Check(List<string> errors, string name, int value, int max)
    {
        if (value < 1 || value > max)
        {
            errors.Add($"{name} is {value}, must be in 1..{max}");
        }
    }
}
