using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda.Compilation;

/// <summary>The number types that the kernels compute in.</summary>
internal enum ComputeType
{
    BFloat16,
    Float16,
}

/// <summary>What weight matrices are stored as; Kernels/Weights.cuh.</summary>
internal enum StoredWeights
{
    /// <summary>The compute type.</summary>
    Computed,

    /// <summary>Integers of 8 bits, and a scale for each 32 inputs of an output.</summary>
    Int8,

    /// <summary>FP8 (e4m3), and a scale for each 32 inputs of an output.</summary>
    Float8,
}

/// <summary>The kernels of one model: the templates of Kernels/ for its types and shape, as NVRTC is asked for them.</summary>
/// <param name="HeadStride">Elements of a head in the KV cache.</param>
/// <param name="Group">Query heads that share a key/value head.</param>
/// <param name="GatedByGelu">The feed-forward's gate is the tanh form of GELU, not SiLU.</param>
/// <param name="Experts">The model has feed-forwards of experts.</param>
/// <param name="Hopper">With products by sm_90's own instructions; compiles for such GPUs alone.</param>
internal sealed record ModelKernels(
    ComputeType Compute, KvDataType Kv, int HeadStride, int Group, bool GatedByGelu, StoredWeights Weights = StoredWeights.Computed, bool Experts = false, bool Hopper = false)
{
    public const string RopeAngles = "rope_angles", SoftCap = "soft_cap", PlaceColumns = "place_columns", AdjustScores = "adjust_scores", SampleTokens = "sample_tokens",
        RouteExperts = "route_experts", SortSlots = "sort_slots", MixExperts = "mix_experts";

    private string T => Compute == ComputeType.BFloat16 ? "bf16" : "f16";

    private string KvType => Kv switch
    {
        KvDataType.Float32 => "float",
        KvDataType.BFloat16 => "bf16",
        KvDataType.Float16 => "f16",
        _ => throw new NotSupportedException($"no CUDA kernels for KV in {Kv}"),
    };

    public string Embed => $"embed<{T}, {TypeOf(Weights)}>";

    public string NormFirst => $"add_rms_norm<{T}, float>";

    public string RopeKv => $"rope_kv<{T}, {KvType}>";

    public string PagedDecode => $"paged_decode<{T}, {KvType}, {HeadStride}, {Group}>";

    public string CombineUnits => $"combine_units<{T}>";

    public string PrefillAttention => $"prefill_attention<{T}, {KvType}, {HeadStride}, {Group}>";

    public string Activate => $"activate_multiply<{T}, {(GatedByGelu ? "GeluTanh" : "Silu")}>";

    /// <summary>All of them.</summary>
    public IReadOnlyList<string> Names =>
    [
        Embed, NormFirst, RopeAngles, RopeKv, PagedDecode, CombineUnits, PrefillAttention, Activate, SoftCap, PlaceColumns, AdjustScores, SampleTokens,
        .. StoredAs.SelectMany(Products),
        .. from output in (bool[])[false, true] select AddChains(output),
        .. from output in (bool[])[false, true] where Hopper select HopperGemm(output),
        .. Experts ? (string[])[RouteExperts, SortSlots, MixExperts] : [],
        .. from output in (bool[])[false, true] where Experts select SkinnyExperts(output),
        .. from output in (bool[])[false, true] from slots in (int[])[64, 128] where Experts select WideExperts(output, slots),
    ];

    /// <summary>Routers are not rounded.</summary>
    private IEnumerable<StoredWeights> StoredAs => Experts && Weights != StoredWeights.Computed ? [Weights, StoredWeights.Computed] : [Weights];

    /// <param name="floatOutputs">The product is f32, else of the compute type.</param>
    /// <param name="columnTiles">Eights of rows that a block takes: 1 or 2.</param>
    public string SkinnyGemm(StoredWeights weights, bool floatOutputs, int columnTiles) => $"skinny_gemm<{T}, {TypeOf(weights)}, {OutputType(floatOutputs)}, {columnTiles}>";

    /// <param name="tileRows">Rows of a block: 64 or 128.</param>
    /// <param name="split">Chains of sums are the blocks' own, in f32.</param>
    public string WideGemm(StoredWeights weights, bool floatOutputs, int tileRows, bool split) =>
        $"wide_gemm<{T}, {TypeOf(weights)}, {OutputType(floatOutputs)}, {tileRows}, {(split ? "true" : "false")}>";

    public string HopperGemm(bool floatOutputs) => $"hopper_gemm<{T}, {OutputType(floatOutputs)}>";

    public string AddChains(bool floatOutputs) => $"add_chains<{T}, {OutputType(floatOutputs)}>";

    public string SkinnyExperts(bool floatOutputs) => $"skinny_experts<{T}, {TypeOf(Weights)}, {OutputType(floatOutputs)}>";

    /// <param name="tileSlots">Slots of a block: 64 or 128.</param>
    public string WideExperts(bool floatOutputs, int tileSlots) => $"wide_experts<{T}, {TypeOf(Weights)}, {OutputType(floatOutputs)}, {tileSlots}>";

    /// <summary>What NVRTC is told for a device. Products and sums are joined to one rounding only where the sources say so: two kernels with the same sources compute the same bits.</summary>
    /// <param name="architecture">As in sm_90.</param>
    public IReadOnlyList<string> Options(string architecture) => [$"--gpu-architecture={architecture}{(Hopper ? "a" : "")}", "--std=c++17", "--fmad=false"];

    private IEnumerable<string> Products(StoredWeights weights) =>
    [
        .. from output in (bool[])[false, true] from tiles in (int[])[1, 2] select SkinnyGemm(weights, output, tiles),
        .. from output in (bool[])[false, true] from rows in (int[])[64, 128] select WideGemm(weights, output, rows, split: false),
        .. from rows in (int[])[64, 128] select WideGemm(weights, floatOutputs: true, rows, split: true),
    ];

    private string OutputType(bool floats) => floats ? "float" : T;

    private string TypeOf(StoredWeights weights) => weights switch
    {
        StoredWeights.Int8 => "int8_code",
        StoredWeights.Float8 => "e4m3_code",
        _ => T,
    };
}
