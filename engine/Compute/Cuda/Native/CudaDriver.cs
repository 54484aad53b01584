using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cuda.Native;

/// <summary>
/// The part of the driver API (cuda.h) in use. Every function but the two that explain codes returns a CUresult, which <see cref="Check"/> turns into an exception. Functions
/// that have a _v2 are imported as such, as the header's macros do.
/// </summary>
internal static unsafe partial class CudaDriver
{
    public const int Success = 0;

    /// <summary>CUDA_ERROR_NOT_READY: no error.</summary>
    public const int NotReady = 600;

    private const string Library = "cuda";

    /// <summary>Attributes of a device.</summary>
    public const int MultiprocessorCount = 16, ComputeCapabilityMajor = 75, ComputeCapabilityMinor = 76, MaxSharedMemoryPerBlockOptIn = 97;

    /// <summary>Attribute of a function: bytes of dynamic shared memory a block may have.</summary>
    public const int MaxDynamicSharedBytes = 8;

    /// <summary>CU_STREAM_NON_BLOCKING; CU_EVENT_DEFAULT; CU_STREAM_CAPTURE_MODE_THREAD_LOCAL.</summary>
    public const uint NonBlockingStream = 1, DefaultEvent = 0, CaptureThreadLocal = 1;

    /// <summary>CU_MEMHOSTALLOC_PORTABLE: pinned for all GPUs.</summary>
    public const uint PortableHostMemory = 1;

    /// <summary>CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS.</summary>
    public const uint LazyPeerAccess = 1;

    /// <summary>CUipcMemHandle, passed by value.</summary>
    [InlineArray(Bytes)]
    public struct IpcHandle
    {
        public const int Bytes = 64;

        private byte _first;
    }

    // Errors.
    [LibraryImport(Library)]
    public static partial int cuGetErrorName(int code, out byte* name);

    [LibraryImport(Library)]
    public static partial int cuGetErrorString(int code, out byte* text);

    // Start and devices.
    [LibraryImport(Library)]
    public static partial int cuInit(uint flags);

    [LibraryImport(Library)]
    public static partial int cuDriverGetVersion(out int version);

    [LibraryImport(Library)]
    public static partial int cuDeviceGetCount(out int count);

    [LibraryImport(Library)]
    public static partial int cuDeviceGet(out int device, int ordinal);

    [LibraryImport(Library)]
    public static partial int cuDeviceGetName(byte* name, int length, int device);

    [LibraryImport(Library)]
    public static partial int cuDeviceGetAttribute(out int value, int attribute, int device);

    [LibraryImport(Library, EntryPoint = "cuDeviceGetUuid_v2")]
    public static partial int cuDeviceGetUuid(byte* id, int device);

    [LibraryImport(Library)]
    public static partial int cuDeviceCanAccessPeer(out int can, int device, int peer);

    [LibraryImport(Library)]
    public static partial int cuDevicePrimaryCtxRetain(out nint context, int device);

    [LibraryImport(Library, EntryPoint = "cuDevicePrimaryCtxRelease_v2")]
    public static partial int cuDevicePrimaryCtxRelease(int device);

    [LibraryImport(Library)]
    public static partial int cuCtxSetCurrent(nint context);

    // Memory.
    [LibraryImport(Library, EntryPoint = "cuMemGetInfo_v2")]
    public static partial int cuMemGetInfo(out nuint free, out nuint total);

    [LibraryImport(Library, EntryPoint = "cuMemAlloc_v2")]
    public static partial int cuMemAlloc(out nint address, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cuMemFree_v2")]
    public static partial int cuMemFree(nint address);

    [LibraryImport(Library)]
    public static partial int cuMemHostAlloc(out nint address, nuint bytes, uint flags);

    [LibraryImport(Library)]
    public static partial int cuMemFreeHost(nint address);

    [LibraryImport(Library, EntryPoint = "cuMemcpyHtoDAsync_v2")]
    public static partial int cuMemcpyHtoDAsync(nint device, void* host, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoHAsync_v2")]
    public static partial int cuMemcpyDtoHAsync(void* host, nint device, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoDAsync_v2")]
    public static partial int cuMemcpyDtoDAsync(nint to, nint from, nuint bytes, nint stream);

    [LibraryImport(Library)]
    public static partial int cuMemsetD8Async(nint address, byte value, nuint bytes, nint stream);

    // Memory of other processes.
    [LibraryImport(Library, EntryPoint = "cuMemGetAddressRange_v2")]
    public static partial int cuMemGetAddressRange(out nint start, out nuint bytes, nint address);

    [LibraryImport(Library)]
    public static partial int cuIpcGetMemHandle(out IpcHandle handle, nint address);

    [LibraryImport(Library, EntryPoint = "cuIpcOpenMemHandle_v2")]
    public static partial int cuIpcOpenMemHandle(out nint address, IpcHandle handle, uint flags);

    [LibraryImport(Library)]
    public static partial int cuIpcCloseMemHandle(nint address);

    // Streams and events.
    [LibraryImport(Library)]
    public static partial int cuStreamCreate(out nint stream, uint flags);

    [LibraryImport(Library, EntryPoint = "cuStreamDestroy_v2")]
    public static partial int cuStreamDestroy(nint stream);

    [LibraryImport(Library)]
    public static partial int cuStreamSynchronize(nint stream);

    [LibraryImport(Library)]
    public static partial int cuStreamWaitEvent(nint stream, nint @event, uint flags);

    [LibraryImport(Library)]
    public static partial int cuEventCreate(out nint @event, uint flags);

    [LibraryImport(Library, EntryPoint = "cuEventDestroy_v2")]
    public static partial int cuEventDestroy(nint @event);

    [LibraryImport(Library)]
    public static partial int cuEventRecord(nint @event, nint stream);

    [LibraryImport(Library)]
    public static partial int cuEventQuery(nint @event);

    [LibraryImport(Library)]
    public static partial int cuEventSynchronize(nint @event);

    [LibraryImport(Library)]
    public static partial int cuEventElapsedTime(out float milliseconds, nint from, nint to);

    // Modules and launches.
    [LibraryImport(Library)]
    public static partial int cuModuleLoadData(out nint module, void* image);

    [LibraryImport(Library)]
    public static partial int cuModuleUnload(nint module);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int cuModuleGetFunction(out nint function, nint module, string name);

    [LibraryImport(Library)]
    public static partial int cuFuncSetAttribute(nint function, int attribute, int value);

    [LibraryImport(Library)]
    public static partial int cuLaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** arguments, void** extra);

    // Graphs.
    [LibraryImport(Library, EntryPoint = "cuStreamBeginCapture_v2")]
    public static partial int cuStreamBeginCapture(nint stream, uint mode);

    [LibraryImport(Library)]
    public static partial int cuStreamEndCapture(nint stream, out nint graph);

    [LibraryImport(Library)]
    public static partial int cuGraphInstantiateWithFlags(out nint executable, nint graph, ulong flags);

    [LibraryImport(Library)]
    public static partial int cuGraphLaunch(nint executable, nint stream);

    [LibraryImport(Library)]
    public static partial int cuGraphExecDestroy(nint executable);

    [LibraryImport(Library)]
    public static partial int cuGraphDestroy(nint graph);

    /// <exception cref="CudaException">The code is not success.</exception>
    public static void Check(int code, string call)
    {
        if (code != Success)
        {
            throw new CudaException("CUDA driver", call, code, Explain(code, name: true), Explain(code, name: false));
        }
    }

    private static string Explain(int code, bool name)
    {
        byte* text;
        var known = (name ? cuGetErrorName(code, out text) : cuGetErrorString(code, out text)) == Success;
        return known && text is not null ? Marshal.PtrToStringUTF8((nint)text)! : "a code that the driver does not know";
    }
}
