using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>The kernels of a step, with the sizes of blocks and shared memory that Kernels/ asks for.</summary>
internal sealed class StepKernels
{
    /// <summary>PagedDecode.cu: SplitTokens; PrefillAttention.cu: PrefillRows; SkinnyGemm.cu: SkinnyOutputs; heads of a block of PagedDecode.cu.</summary>
    public const int SplitTokens = 256, PrefillRows = 64, GemmOutputs = 16, DecodeHeads = 8;

    /// <summary>Threads of kernels that take elements one by one.</summary>
    public const int ElementThreads = 256;

    private const int Warp = 32, MaxWarps = 32, NormThreads = 256, RopeThreads = 128, DecodeWarps = 4, PrefillWarps = 4, GemmWarps = 8;

    public StepKernels(IGpu gpu, ModelKernels names)
    {
        Kernel Get(string name, int threads, int sharedBytes) => new(gpu.Kernel(name, sharedBytes), threads, sharedBytes);
        int stride = names.HeadStride;
        Embed = Get(names.Embed, ElementThreads, 0);
        Norm = Get(names.NormFirst, NormThreads, 2 * MaxWarps * sizeof(float));
        RopeAngles = Get(ModelKernels.RopeAngles, Warp, 0);
        RopeKv = Get(names.RopeKv, RopeThreads, 0);
        PagedDecode = Get(names.PagedDecode, DecodeWarps * Warp, DecodeWarps * DecodeHeads * (2 + stride) * sizeof(float));
        CombineSplits = Get(names.CombineSplits, RopeThreads, 0);
        int tileTokens = stride > 128 ? 32 : 64;
        int rowElements = (stride + 15) / 16 * 16 + 8;
        PrefillAttention = Get(names.PrefillAttention, PrefillWarps * Warp, 2 * tileTokens * rowElements * 2);
        Activate = Get(names.Activate, ElementThreads, 0);
        SoftCap = Get(ModelKernels.SoftCap, ElementThreads, 0);
        Kernel Product(bool floats, int tiles) => Get(names.SkinnyGemm(floats, tiles), GemmWarps * Warp, GemmWarps * tiles * GemmOutputs * 8 * sizeof(float));
        ProductsOfEight = (Product(false, 1), Product(true, 1));
        ProductsOfSixteen = (Product(false, 2), Product(true, 2));
    }

    public Kernel Embed { get; }

    public Kernel Norm { get; }

    public Kernel RopeAngles { get; }

    public Kernel RopeKv { get; }

    public Kernel PagedDecode { get; }

    public Kernel CombineSplits { get; }

    public Kernel PrefillAttention { get; }

    public Kernel Activate { get; }

    public Kernel SoftCap { get; }

    /// <summary>For up to 8 rows a block, with outputs of the compute type or in f32.</summary>
    public (Kernel Same, Kernel Floats) ProductsOfEight { get; }

    /// <summary>For up to 16 rows a block.</summary>
    public (Kernel Same, Kernel Floats) ProductsOfSixteen { get; }
}
