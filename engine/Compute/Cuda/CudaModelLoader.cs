using System.Globalization;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>From a model folder to a runner: everything that can be refused is refused before the GPU's memory is touched.</summary>
internal static class CudaModelLoader
{
    /// <summary>What a unit's keys and values leave of a block's shared memory and registers.</summary>
    private const int MostHeadStride = 256;

    /// <summary>On one GPU.</summary>
    public static CudaModelRunner Load(string folder, CudaRunnerOptions options, Func<ModelKernels, IGpu> open) => Load(folder, options, (kernels, _) => open(kernels));

    /// <param name="open">Opens the GPU of a rank with the model's kernels; the runner owns it.</param>
    /// <exception cref="ModelLoadException">The folder is missing, damaged or of an unsupported kind.</exception>
    /// <exception cref="NotSupportedException">The CUDA kernels cannot compute such a model, have no such weights, or it cannot be divided among as many GPUs.</exception>
    /// <exception cref="CudaUnavailableException">A GPU has too little memory, or the GPUs differ.</exception>
    public static CudaModelRunner Load(string folder, CudaRunnerOptions options, Func<ModelKernels, int, IGpu> open)
    {
        using var opened = ModelFolder.Open(folder, options.MaxContextTokens);
        var kernels = KernelsOf(opened.Config, opened.Checkpoint, options.KvDataType, options.Weights, options.ManyRows);
        var shares = CudaShares.Divide(opened.Config, options.TensorParallel, kernels.Weights);
        var gpus = new List<IGpu>();
        KvLayout layout;
        StepLimits limits;
        try
        {
            foreach (var share in shares)
            {
                gpus.Add(open(kernels, share.Rank));
            }

            layout = LayoutOf(opened, kernels, gpus[0].Architecture, options);
            if (gpus.Find(gpu => gpu.Architecture != gpus[0].Architecture) is { } other)
            {
                throw new CudaUnavailableException($"--tensor-parallel {shares.Count}: the GPUs are of {gpus[0].Architecture} and {other.Architecture}; a model is divided among equal ones");
            }

            limits = StepLimits.Of(opened.Config, options.MaxBatchTokens, options.MaxSequences, options.KvMemoryBytes / layout.PageBytesAllLayers * layout.PageTokens);
            foreach (var share in shares)
            {
                CheckMemory(gpus[share.Rank], opened, kernels, layout, share, limits, options);
            }
        }
        catch
        {
            gpus.ForEach(gpu => gpu.Dispose());
            throw;
        }

        return CudaModelRunner.Load(gpus, shares, opened.Description, layout, opened.Config, opened.Checkpoint, kernels, limits, options.ManyRows);
    }

    /// <summary>The kernels that a model needs; known before there is a GPU to compile them for.</summary>
    /// <param name="kv">Null: the compute type.</param>
    /// <exception cref="NotSupportedException">The CUDA kernels cannot compute such a model, or have no such weights.</exception>
    public static ModelKernels KernelsOf(DecoderConfig config, Checkpoint checkpoint, KvDataType? kv, WeightFormat weights = WeightFormat.Auto, ManyRowProducts many = ManyRowProducts.Own)
    {
        if (weights == WeightFormat.Float32)
        {
            throw new NotSupportedException("--weights f32: the CUDA kernels have weights of 16 bits (auto, bf16) or of 8 (int8, fp8); --device cpu has f32");
        }

        if (config.HeadStride > MostHeadStride)
        {
            throw new NotSupportedException($"head_dim is {config.HeadDim}; the CUDA kernels have heads of at most {MostHeadStride} (--device cpu computes any)");
        }

        string embedding = config.Names.In(checkpoint, config).Embedding + ".weight";
        bool half = weights != WeightFormat.BFloat16 && checkpoint.Matrix(embedding, config.VocabSize, config.Hidden).Type == WeightType.Float16;
        return new ModelKernels(
            half ? ComputeType.Float16 : ComputeType.BFloat16,
            kv ?? (half ? KvDataType.Float16 : KvDataType.BFloat16),
            config.HeadStride,
            config.GroupSize,
            config.Activation == Activation.GeluTanh,
            weights switch { WeightFormat.Int8 => StoredWeights.Int8, WeightFormat.Float8 => StoredWeights.Float8, _ => StoredWeights.Computed },
            CudaWeights.ExpertsOf(config) is not null,
            many == ManyRowProducts.Hopper);
    }

    /// <summary>
    /// KV has other bits where other arithmetic made it, so the model's name says which: KV of the CPU, of another compute type or of another architecture's tensor cores is refused, not
    /// mixed with.
    /// </summary>
    private static KvLayout LayoutOf(ModelFolder opened, ModelKernels kernels, string architecture, CudaRunnerOptions options) => new(
        $"{opened.Description.Id}-{opened.Identity}-{architecture}-{(kernels.Compute == ComputeType.Float16 ? "f16" : "bf16")}{Rounding(kernels.Weights)}{(options.ManyRows == ManyRowProducts.CublasLt ? "-cublaslt" : "")}",
        opened.Config.Layers,
        opened.Config.KvHeads,
        opened.Config.HeadStride,
        options.PageTokens,
        kernels.Kv);

    private static string Rounding(StoredWeights weights) => weights switch { StoredWeights.Int8 => "-int8", StoredWeights.Float8 => "-fp8", _ => "" };

    /// <summary>All that will ever be taken: nothing but recorded steps comes later.</summary>
    private static void CheckMemory(IGpu gpu, ModelFolder opened, ModelKernels kernels, KvLayout layout, RankShare share, StepLimits limits, CudaRunnerOptions options)
    {
        var (free, total) = gpu.MemoryInfo();
        int routerParts = CudaWeights.RouterPartsOf(opened.Config, opened.Checkpoint, kernels.Compute);
        long weights = CudaMemory.Weights(opened.Config, kernels, routerParts, share), pool = options.KvMemoryBytes / share.Ranks;
        long step = CudaMemory.Step(opened.Config, layout, routerParts, share, limits, options.ManyRows, gpu.Multiprocessors), recorded = StepGraphs.BytesFor(limits, opened.Config.Layers);
        long missing = weights + step + recorded + pool - free;
        if (missing > 0)
        {
            throw new CudaUnavailableException(string.Create(
                CultureInfo.InvariantCulture,
                $"the GPU has {free} bytes free of {total}, which is {missing} too few: the weights take {weights}, a step of --max-batch-tokens {options.MaxBatchTokens} and --max-sequences {options.MaxSequences} takes {step}, recorded steps up to {recorded}, the KV pool of --kv-memory {pool}{(share.IsWhole ? "" : $" on each of {share.Ranks} GPUs (this is number {share.Rank})")}"));
        }
    }
}
