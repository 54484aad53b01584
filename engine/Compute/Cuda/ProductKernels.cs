using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>A kernel with outputs of the compute type, and the same with outputs in f32.</summary>
internal readonly record struct ProductKernel(Kernel Same, Kernel Floats)
{
    public Kernel For(bool floats) => floats ? Floats : Same;
}

/// <summary>The kernels of products with weights that are stored in one way, with the sizes of blocks and shared memory that Kernels/ asks for.</summary>
internal sealed class ProductKernels
{
    /// <summary>SkinnyGemm.cu: SkinnyOutputs; WideGemm.cu: WideOutputs; GemmOrder.cuh: GemmChains.</summary>
    public const int SkinnyOutputs = 16, WideOutputs = 128, Chains = 8;

    private const int Threads = Chains * 32, WideStages = 4, RunBytes = 64;

    public ProductKernels(IGpu gpu, ModelKernels names, StoredWeights weights)
    {
        ProductKernel Skinny(int tiles) => Both(gpu, floats => names.SkinnyGemm(weights, floats, tiles), SkinnyBytes(tiles));
        ProductKernel Wide(int rows) => Both(gpu, floats => names.WideGemm(weights, floats, rows, split: false), WideBytes(rows));
        Kernel Split(int rows) => new(gpu.Kernel(names.WideGemm(weights, floatOutputs: true, rows, split: true), WideBytes(rows)), Threads, WideBytes(rows));
        (OfEight, OfSixteen) = (Skinny(1), Skinny(2));
        (Of64, Of128) = (Wide(64), Wide(128));
        (SplitOf64, SplitOf128) = (Split(64), Split(128));
    }

    /// <summary>For up to 8 rows a block.</summary>
    public ProductKernel OfEight { get; }

    /// <summary>For up to 16 rows a block.</summary>
    public ProductKernel OfSixteen { get; }

    public ProductKernel Of64 { get; }

    public ProductKernel Of128 { get; }

    /// <summary>Leaves chains in f32.</summary>
    public Kernel SplitOf64 { get; }

    public Kernel SplitOf128 { get; }

    public static ProductKernel Both(IGpu gpu, Func<bool, string> name, int sharedBytes) =>
        new(new Kernel(gpu.Kernel(name(false), sharedBytes), Threads, sharedBytes), new Kernel(gpu.Kernel(name(true), sharedBytes), Threads, sharedBytes));

    /// <summary>HopperGemm.cu: hopper_shared_bytes.</summary>
    public const int HopperBytes = 6 * 2 * WideOutputs * 128 + 1024;

    public static int SkinnyBytes(int tiles) => Chains * tiles * SkinnyOutputs * 8 * sizeof(float);

    public static int WideBytes(int rows) => WideStages * (WideOutputs + rows) * RunBytes;
}

/// <summary>The kernels of feed-forwards of experts; Experts.cu.</summary>
internal sealed class ExpertKernels
{
    private const int Warp = 32, SortThreads = 1024;

    public ExpertKernels(IGpu gpu, ModelKernels names, int experts, int chosen)
    {
        Kernel Get(string name, int threads, int sharedBytes) => new(gpu.Kernel(name, sharedBytes), threads, sharedBytes);
        Route = Get(ModelKernels.RouteExperts, Warp, chosen * 2 * sizeof(int));
        Sort = Get(ModelKernels.SortSlots, SortThreads, experts * 2 * sizeof(int));
        Mix = Get(ModelKernels.MixExperts, StepKernels.ElementThreads, 0);
        OfEight = ProductKernels.Both(gpu, names.SkinnyExperts, ProductKernels.SkinnyBytes(1));
        Of64 = ProductKernels.Both(gpu, floats => names.WideExperts(floats, 64), ProductKernels.WideBytes(64));
        Of128 = ProductKernels.Both(gpu, floats => names.WideExperts(floats, 128), ProductKernels.WideBytes(128));
    }

    public Kernel Route { get; }

    public Kernel Sort { get; }

    public Kernel Mix { get; }

    /// <summary>For tiles of up to 8 slots.</summary>
    public ProductKernel OfEight { get; }

    public ProductKernel Of64 { get; }

    public ProductKernel Of128 { get; }
}
