using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda.Compilation;

/// <summary>The number types that the kernels compute in.</summary>
internal enum ComputeType
{
    BFloat16,
    Float16,
}

/// <summary>The kernels of one model: the templates of Kernels/ for its types and shape, as NVRTC is asked for them.</summary>
/// <param name="HeadStride">Elements of a head in the KV cache.</param>
/// <param name="Group">Query heads that share a key/value head.</param>
/// <param name="GatedByGelu">The feed-forward's gate is the tanh form of GELU, not SiLU.</param>
internal sealed record ModelKernels(ComputeType Compute, KvDataType Kv, int HeadStride, int Group, bool GatedByGelu)
{
    public const string RopeAngles = "rope_angles", SoftCap = "soft_cap", AdjustScores = "adjust_scores", SampleTokens = "sample_tokens";

    private string T => Compute == ComputeType.BFloat16 ? "bf16" : "f16";

    private string KvType => Kv switch
    {
        KvDataType.Float32 => "float",
        KvDataType.BFloat16 => "bf16",
        KvDataType.Float16 => "f16",
        _ => throw new NotSupportedException($"no CUDA kernels for KV in {Kv}"),
    };

    public string Embed => $"embed<{T}>";

    public string NormFirst => $"add_rms_norm<{T}, float>";

    public string RopeKv => $"rope_kv<{T}, {KvType}>";

    public string PagedDecode => $"paged_decode<{T}, {KvType}, {HeadStride}, {Group}>";

    public string CombineUnits => $"combine_units<{T}>";

    public string PrefillAttention => $"prefill_attention<{T}, {KvType}, {HeadStride}, {Group}>";

    public string Activate => $"activate_multiply<{T}, {(GatedByGelu ? "GeluTanh" : "Silu")}>";

    /// <summary>All of them.</summary>
    public IReadOnlyList<string> Names =>
    [
        Embed, NormFirst, RopeAngles, RopeKv, PagedDecode, CombineUnits, PrefillAttention, Activate, SoftCap, AdjustScores, SampleTokens,
        .. from output in (bool[])[false, true] from tiles in (int[])[1, 2] select SkinnyGemm(output, tiles),
        .. from output in (bool[])[false, true] from rows in (int[])[64, 128] select WideGemm(output, rows, split: false),
        .. from rows in (int[])[64, 128] select WideGemm(floatOutputs: true, rows, split: true),
        .. from output in (bool[])[false, true] select AddChains(output),
    ];

    /// <param name="floatOutputs">The product is f32, else of the compute type.</param>
    /// <param name="columnTiles">Eights of rows that a block takes: 1 or 2.</param>
    public string SkinnyGemm(bool floatOutputs, int columnTiles) => $"skinny_gemm<{T}, {OutputType(floatOutputs)}, {columnTiles}>";

    /// <param name="tileRows">Rows of a block: 64 or 128.</param>
    /// <param name="split">Chains of sums are the blocks' own, in f32.</param>
    public string WideGemm(bool floatOutputs, int tileRows, bool split) => $"wide_gemm<{T}, {OutputType(floatOutputs)}, {tileRows}, {(split ? "true" : "false")}>";

    public string AddChains(bool floatOutputs) => $"add_chains<{T}, {OutputType(floatOutputs)}>";

    /// <summary>What NVRTC is told for a device. Products and sums are joined to one rounding only where the sources say so: two kernels with the same sources compute the same bits.</summary>
    /// <param name="architecture">As in sm_90.</param>
    public static IReadOnlyList<string> Options(string architecture) => [$"--gpu-architecture={architecture}", "--std=c++17", "--fmad=false"];

    private string OutputType(bool floats) => floats ? "float" : T;
}
