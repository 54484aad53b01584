using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cuda.Native;

/// <summary>The part of NCCL (nccl.h) in use: sums and broadcasts among the GPUs of a process. Every function but the one that explains codes returns an ncclResult_t.</summary>
internal static unsafe partial class Nccl
{
    public const int Success = 0;

    private const string Library = "nccl";

    /// <summary>ncclDataType_t; ncclRedOp_t.</summary>
    public const int TypeInt8 = 0, TypeFloat32 = 7, OperationSum = 0;

    [LibraryImport(Library)]
    public static partial byte* ncclGetErrorString(int code);

    /// <summary>A communicator for each device, ranks in their order.</summary>
    [LibraryImport(Library)]
    public static partial int ncclCommInitAll(nint* communicators, int count, int* devices);

    [LibraryImport(Library)]
    public static partial int ncclCommDestroy(nint communicator);

    /// <summary>Ends what waits for others, and frees the communicator.</summary>
    [LibraryImport(Library)]
    public static partial int ncclCommAbort(nint communicator);

    [LibraryImport(Library)]
    public static partial int ncclAllReduce(nint from, nint to, nuint count, int type, int operation, nint communicator, nint stream);

    [LibraryImport(Library)]
    public static partial int ncclBroadcast(nint from, nint to, nuint count, int type, int root, nint communicator, nint stream);

    /// <exception cref="CudaException">The code is not success.</exception>
    public static void Check(int code, string call)
    {
        if (code != Success)
        {
            throw new CudaException("NCCL", call, code, "ncclResult_t", Marshal.PtrToStringUTF8((nint)ncclGetErrorString(code)) ?? "no text");
        }
    }
}
