using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>
/// A thing of the driver's. A call that uses it keeps it alive; releasing it makes the device's context current first, for a finalizer's thread has none. Codes of releases are
/// not looked at: after a failed kernel every one of them repeats its error.
/// </summary>
internal abstract class GpuHandle : SafeHandle
{
    private readonly GpuContext _context;

    protected GpuHandle(GpuContext context, nint value)
        : base(0, ownsHandle: true)
    {
        _context = context;
        SetHandle(value);
        // The context goes after everything that lives in it.
        var added = false;
        context.DangerousAddRef(ref added);
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>The driver's own value; valid until disposed.</summary>
    public nint Value => IsClosed ? throw new ObjectDisposedException(GetType().Name) : handle;

    protected abstract int Release(nint value);

    protected override bool ReleaseHandle()
    {
        _ = CudaDriver.cuCtxSetCurrent(_context.DangerousGetHandle());
        _ = Release(handle);
        _context.DangerousRelease();
        return true;
    }
}

/// <summary>The primary context of a device, which all users of the device in this process share.</summary>
internal sealed class GpuContext : SafeHandle
{
    private readonly int _device;

    private GpuContext(int device, nint value)
        : base(0, ownsHandle: true)
    {
        _device = device;
        SetHandle(value);
    }

    public override bool IsInvalid => handle == 0;

    public static GpuContext Retain(int device)
    {
        CudaDriver.Check(CudaDriver.cuDevicePrimaryCtxRetain(out var context, device), nameof(CudaDriver.cuDevicePrimaryCtxRetain));
        return new GpuContext(device, context);
    }

    /// <summary>Calls of this thread go to the device from now on.</summary>
    public void MakeCurrent() => CudaDriver.Check(CudaDriver.cuCtxSetCurrent(handle), nameof(CudaDriver.cuCtxSetCurrent));

    protected override bool ReleaseHandle() => CudaDriver.cuDevicePrimaryCtxRelease(_device) == CudaDriver.Success;
}

/// <summary>Memory of the device.</summary>
internal sealed class GpuMemory(GpuContext context, nint value, long bytes) : GpuHandle(context, value), IGpuMemory
{
    public long Bytes { get; } = bytes;

    protected override int Release(nint value) => CudaDriver.cuMemFree(value);
}

/// <summary>Memory of another process that is open in this one.</summary>
/// <param name="opened">What the driver has opened, in which the memory begins at <paramref name="offset"/>.</param>
internal sealed class SharedGpuMemory(GpuContext context, nint opened, long offset, long bytes) : GpuHandle(context, opened), IGpuMemory
{
    nint IGpuMemory.Value => Value + (nint)offset;

    public long Bytes { get; } = bytes;

    protected override int Release(nint value) => CudaDriver.cuIpcCloseMemHandle(value);
}

/// <summary>Memory of the host that the device copies from and to while the host goes on.</summary>
internal sealed class PinnedMemory(GpuContext context, nint value, long bytes) : GpuHandle(context, value), IGpuMemory
{
    public long Bytes { get; } = bytes;

    protected override int Release(nint value) => CudaDriver.cuMemFreeHost(value);
}

/// <summary>Work that runs in the order it was given in.</summary>
internal sealed class GpuStream(GpuContext context, nint value) : GpuHandle(context, value)
{
    protected override int Release(nint value) => CudaDriver.cuStreamDestroy(value);
}

/// <summary>A point in a stream.</summary>
internal sealed class GpuEvent(GpuContext context, nint value) : GpuHandle(context, value), IGpuMark
{
    protected override int Release(nint value) => CudaDriver.cuEventDestroy(value);
}

/// <summary>A recorded run of launches and copies, launched as one.</summary>
internal sealed class GpuGraph(GpuContext context, nint value) : GpuHandle(context, value)
{
    protected override int Release(nint value) => CudaDriver.cuGraphExecDestroy(value);
}

/// <summary>Compiled kernels on the device. A function is valid until its module is disposed.</summary>
internal sealed class GpuModule(GpuContext context, nint value) : GpuHandle(context, value)
{
    protected override int Release(nint value) => CudaDriver.cuModuleUnload(value);
}
