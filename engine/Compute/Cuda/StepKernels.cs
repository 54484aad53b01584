using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>The kernels of a step, with the sizes of blocks and shared memory that Kernels/ asks for.</summary>
internal sealed class StepKernels
{
    /// <summary>PrefillAttention.cu: PrefillRows; PagedDecode.cu: DecodeHeads.</summary>
    public const int PrefillRows = 64, DecodeHeads = 16;

    /// <summary>Threads of kernels that take elements one by one.</summary>
    public const int ElementThreads = 256;

    private const int Warp = 32, MaxWarps = 32, NormThreads = 256, RopeThreads = 128, PrefillWarps = 4;

    /// <param name="experts">Of the blocks that have such; null where none has.</param>
    public StepKernels(IGpu gpu, ModelKernels names, ExpertsConfig? experts = null)
    {
        Kernel Get(string name, int threads, int sharedBytes) => new(gpu.Kernel(name, sharedBytes), threads, sharedBytes);
        int stride = names.HeadStride;
        Embed = Get(names.Embed, ElementThreads, 0);
        Norm = Get(names.NormFirst, NormThreads, 2 * MaxWarps * sizeof(float));
        RopeAngles = Get(ModelKernels.RopeAngles, Warp, 0);
        RopeKv = Get(names.RopeKv, RopeThreads, 0);
        int rowElements = (stride + 15) / 16 * 16 + 8, unitBytes = 2 * UnitTokens(stride) * rowElements * 2;
        PagedDecode = Get(names.PagedDecode, Warp, unitBytes);
        CombineUnits = Get(names.CombineUnits, RopeThreads, 0);
        PrefillAttention = Get(names.PrefillAttention, PrefillWarps * Warp, unitBytes);
        Activate = Get(names.Activate, ElementThreads, 0);
        SoftCap = Get(ModelKernels.SoftCap, ElementThreads, 0);
        PlaceColumns = Get(ModelKernels.PlaceColumns, ElementThreads, 0);
        AddChains = new(Get(names.AddChains(false), ElementThreads, 0), Get(names.AddChains(true), ElementThreads, 0));
        Products = new ProductKernels(gpu, names, names.Weights);
        ExactProducts = names.Experts && names.Weights != StoredWeights.Computed ? new ProductKernels(gpu, names, StoredWeights.Computed) : Products;
        Hopper = names.Hopper ? ProductKernels.Both(gpu, names.HopperGemm, ProductKernels.HopperBytes) : null;
        Experts = experts is null ? null : new ExpertKernels(gpu, names, experts.Count, experts.Chosen);
    }

    /// <summary>AttentionUnit.cuh: positions that are computed for themselves before they are merged.</summary>
    public static int UnitTokens(int headStride) => headStride > 128 ? 32 : 64;

    public Kernel Embed { get; }

    public Kernel Norm { get; }

    public Kernel RopeAngles { get; }

    public Kernel RopeKv { get; }

    public Kernel PagedDecode { get; }

    public Kernel CombineUnits { get; }

    public Kernel PrefillAttention { get; }

    public Kernel Activate { get; }

    public Kernel SoftCap { get; }

    public Kernel PlaceColumns { get; }

    /// <summary>Products of the chains that blocks left.</summary>
    public ProductKernel AddChains { get; }

    /// <summary>With the model's weights as they are stored.</summary>
    public ProductKernels Products { get; }

    /// <summary>With weights of the compute type.</summary>
    public ProductKernels ExactProducts { get; }

    /// <summary>Of 128 rows and outputs a block, with weights of the compute type; null where the GPU is not asked for it.</summary>
    public ProductKernel? Hopper { get; }

    /// <summary>Null where no block has experts.</summary>
    public ExpertKernels? Experts { get; }
}
