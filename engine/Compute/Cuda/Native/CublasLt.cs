using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cuda.Native;

/// <summary>The part of cuBLASLt (cublasLt.h) in use: matrix products with a chosen algorithm. Every function but those that explain codes returns a cublasStatus_t.</summary>
internal static unsafe partial class CublasLt
{
    public const int Success = 0;

    private const string Library = "cublasLt";

    /// <summary>cudaDataType_t.</summary>
    public const int TypeFloat32 = 0, TypeFloat16 = 2, TypeBFloat16 = 14;

    /// <summary>CUBLAS_COMPUTE_32F; CUBLAS_OP_T.</summary>
    public const int Compute32F = 68, Transposed = 1;

    /// <summary>cublasLtMatmulDescAttributes_t.</summary>
    public const int DescTransposeA = 3, DescTransposeB = 4, DescEpilogue = 7, DescBiasPointer = 8, DescBiasType = 26;

    /// <summary>cublasLtEpilogue_t.</summary>
    public const uint EpilogueBias = 4;

    /// <summary>cublasLtMatmulPreferenceAttributes_t.</summary>
    public const int PreferenceMaxWorkspaceBytes = 1;

    [LibraryImport(Library)]
    public static partial byte* cublasLtGetStatusName(int status);

    [LibraryImport(Library)]
    public static partial byte* cublasLtGetStatusString(int status);

    [LibraryImport(Library)]
    public static partial nuint cublasLtGetVersion();

    [LibraryImport(Library)]
    public static partial int cublasLtCreate(out nint handle);

    [LibraryImport(Library)]
    public static partial int cublasLtDestroy(nint handle);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulDescCreate(out nint description, int computeType, int scaleType);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulDescDestroy(nint description);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulDescSetAttribute(nint description, int attribute, void* value, nuint bytes);

    [LibraryImport(Library)]
    public static partial int cublasLtMatrixLayoutCreate(out nint layout, int type, ulong rows, ulong columns, long leadingDimension);

    [LibraryImport(Library)]
    public static partial int cublasLtMatrixLayoutDestroy(nint layout);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulPreferenceCreate(out nint preference);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulPreferenceDestroy(nint preference);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulPreferenceSetAttribute(nint preference, int attribute, void* value, nuint bytes);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulAlgoGetHeuristic(
        nint handle, nint description, nint a, nint b, nint c, nint d, nint preference, int wanted, MatmulHeuristic* results, out int found);

    /// <summary>Whether an algorithm can do a product, and what workspace it takes.</summary>
    [LibraryImport(Library)]
    public static partial int cublasLtMatmulAlgoCheck(nint handle, nint description, nint a, nint b, nint c, nint d, MatmulAlgorithm* algorithm, out MatmulHeuristic result);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmul(
        nint handle, nint description, void* alpha, nint a, nint aLayout, nint b, nint bLayout, void* beta, nint c, nint cLayout, nint d, nint dLayout,
        MatmulAlgorithm* algorithm, nint workspace, nuint workspaceBytes, nint stream);

    /// <exception cref="CudaException">The status is not success.</exception>
    public static void Check(int status, string call)
    {
        if (status != Success)
        {
            throw new CudaException(
                "cuBLASLt",
                call,
                status,
                Marshal.PtrToStringUTF8((nint)cublasLtGetStatusName(status)) ?? "unknown",
                Marshal.PtrToStringUTF8((nint)cublasLtGetStatusString(status)) ?? "no text");
        }
    }
}

/// <summary>cublasLtMatmulAlgo_t: opaque, 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MatmulAlgorithm
{
    public fixed ulong Data[8];
}

/// <summary>cublasLtMatmulHeuristicResult_t.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MatmulHeuristic
{
    public MatmulAlgorithm Algorithm;
    public nuint WorkspaceBytes;
    public int State;
    public float Waves;
    public fixed int Reserved[4];
}
