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

    private const int Warp = 32, MaxWarps = 32, NormThreads = 256, RopeThreads = 128, PrefillWarps = 4, GemmWarps = 8, GemmOutputs = 16, WideOutputs = 128, WideStages = 4, GemmRunBytes = 64;

    public StepKernels(IGpu gpu, ModelKernels names)
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
        Kernel Product(bool floats, int tiles) => Get(names.SkinnyGemm(floats, tiles), GemmWarps * Warp, GemmWarps * tiles * GemmOutputs * 8 * sizeof(float));
        ProductsOfEight = (Product(false, 1), Product(true, 1));
        ProductsOfSixteen = (Product(false, 2), Product(true, 2));
        Kernel Wide(bool floats, int rows, bool split) => Get(names.WideGemm(floats, rows, split), GemmWarps * Warp, WideStages * (WideOutputs + rows) * GemmRunBytes);
        ProductsOf64 = (Wide(false, 64, false), Wide(true, 64, false), Wide(true, 64, true));
        ProductsOf128 = (Wide(false, 128, false), Wide(true, 128, false), Wide(true, 128, true));
        AddChains = (Get(names.AddChains(false), ElementThreads, 0), Get(names.AddChains(true), ElementThreads, 0));
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

    /// <summary>For up to 8 rows a block, with outputs of the compute type or in f32.</summary>
    public (Kernel Same, Kernel Floats) ProductsOfEight { get; }

    /// <summary>For up to 16 rows a block.</summary>
    public (Kernel Same, Kernel Floats) ProductsOfSixteen { get; }

    /// <summary>For 64 rows a block; Split leaves chains in f32.</summary>
    public (Kernel Same, Kernel Floats, Kernel Split) ProductsOf64 { get; }

    /// <summary>For 128 rows a block.</summary>
    public (Kernel Same, Kernel Floats, Kernel Split) ProductsOf128 { get; }

    /// <summary>Products of the chains that Split leaves.</summary>
    public (Kernel Same, Kernel Floats) AddChains { get; }
}
