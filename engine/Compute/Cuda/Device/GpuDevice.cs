using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>What a GPU is.</summary>
/// <param name="Ordinal">The N of cuda:N.</param>
/// <param name="Architecture">As in sm_90.</param>
/// <param name="DriverVersion">1000 * major + 10 * minor of the newest CUDA that the driver can do.</param>
internal sealed record GpuDescription(int Ordinal, string Name, string Architecture, int Multiprocessors, int DriverVersion, long SharedBytesPerBlock);

/// <summary>Size of a grid or of a block.</summary>
internal readonly record struct Extent(int X, int Y = 1, int Z = 1);

/// <summary>
/// One GPU: makes and fills what lives on it. Memory, streams and modules are the caller's to dispose, before or after the device. Any thread may call, one at a time for each
/// stream; each call makes the device current.
/// </summary>
internal sealed unsafe class GpuDevice : IDisposable
{
    /// <summary>The kernels' instructions (mma of bf16, cp.async) came with it.</summary>
    private const int LeastCapability = 80;

    private readonly GpuContext _context;

    private GpuDevice(GpuContext context, GpuDescription description)
    {
        _context = context;
        Description = description;
    }

    public GpuDescription Description { get; }

    /// <summary>Opens device <paramref name="ordinal"/>; the libraries are loaded.</summary>
    /// <exception cref="CudaUnavailableException">No such device, the driver refuses to start, or it is too old a device.</exception>
    public static GpuDevice Open(int ordinal)
    {
        try
        {
            CudaDriver.Check(CudaDriver.cuInit(0), nameof(CudaDriver.cuInit));
        }
        catch (CudaException e)
        {
            throw new CudaUnavailableException($"cuda:{ordinal} cannot be used: {e.Message}. Without a GPU, --device cpu computes.", e);
        }

        CudaDriver.Check(CudaDriver.cuDeviceGetCount(out var count), nameof(CudaDriver.cuDeviceGetCount));
        if (ordinal >= count)
        {
            throw new CudaUnavailableException($"cuda:{ordinal} is not there: the driver sees {count} GPUs, numbered from 0 (CUDA_VISIBLE_DEVICES hides some).");
        }

        CudaDriver.Check(CudaDriver.cuDeviceGet(out var device, ordinal), nameof(CudaDriver.cuDeviceGet));
        var description = Describe(ordinal, device);
        if (int.Parse(description.Architecture.AsSpan(3), System.Globalization.CultureInfo.InvariantCulture) < LeastCapability)
        {
            throw new CudaUnavailableException($"cuda:{ordinal} ({description.Name}) is of {description.Architecture}; the kernels need sm_{LeastCapability} or later.");
        }

        return new GpuDevice(GpuContext.Retain(device), description);
    }

    public void Dispose() => _context.Dispose();

    /// <summary>For calls of this thread to libraries that work on the current device.</summary>
    public void MakeCurrent() => _context.MakeCurrent();

    /// <summary>Bytes free and in all.</summary>
    public (long Free, long Total) MemoryInfo()
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemGetInfo(out var free, out var total), nameof(CudaDriver.cuMemGetInfo));
        return ((long)free, (long)total);
    }

    /// <summary>Memory of unknown content.</summary>
    /// <exception cref="CudaException">CUDA_ERROR_OUT_OF_MEMORY.</exception>
    public GpuMemory Allocate(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemAlloc(out var address, (nuint)bytes), $"{nameof(CudaDriver.cuMemAlloc)} of {bytes} bytes");
        return new GpuMemory(_context, address, bytes);
    }

    /// <summary>Memory for other processes to open; null where the driver does not share it, as on some virtual machines.</summary>
    public DeviceExport? Share(GpuMemory memory)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemGetAddressRange(out var start, out _, memory.Value), nameof(CudaDriver.cuMemGetAddressRange));
        return CudaDriver.cuIpcGetMemHandle(out var handle, memory.Value) == CudaDriver.Success
            ? new DeviceExport(IdOf(Description.Ordinal), ((ReadOnlySpan<byte>)handle).ToArray(), memory.Value - start)
            : null;
    }

    /// <summary>Opens what another process shares.</summary>
    /// <exception cref="CudaUnavailableException">It is on a device that this process does not see, or that this device does not reach.</exception>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public SharedGpuMemory OpenShared(DeviceExport export, long bytes)
    {
        if (export.Handle.Length != CudaDriver.IpcHandle.Bytes)
        {
            throw new CudaUnavailableException($"a handle of {export.Handle.Length} bytes, not {CudaDriver.IpcHandle.Bytes}: it is of no CUDA device");
        }

        EnsureReaches(export.Device);
        CudaDriver.IpcHandle handle = default;
        export.Handle.Span.CopyTo(handle);
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuIpcOpenMemHandle(out var address, handle, CudaDriver.LazyPeerAccess), nameof(CudaDriver.cuIpcOpenMemHandle));
        var memory = new SharedGpuMemory(_context, address, export.Offset, bytes);
        try
        {
            // What is opened is a whole allocation, which is to hold what is said to be in it, as far as the driver tells.
            return CudaDriver.cuMemGetAddressRange(out _, out var opened, address) != CudaDriver.Success || export.Offset <= (long)opened - bytes
                ? memory
                : throw new CudaUnavailableException($"the memory has {opened} bytes; {bytes} from {export.Offset} on are expected in it");
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    public PinnedMemory AllocatePinned(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemHostAlloc(out var address, (nuint)bytes, CudaDriver.PortableHostMemory), $"{nameof(CudaDriver.cuMemHostAlloc)} of {bytes} bytes");
        return new PinnedMemory(_context, address, bytes);
    }

    public GpuStream CreateStream()
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuStreamCreate(out var stream, CudaDriver.NonBlockingStream), nameof(CudaDriver.cuStreamCreate));
        return new GpuStream(_context, stream);
    }

    public GpuEvent CreateEvent()
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuEventCreate(out var @event, CudaDriver.DefaultEvent), nameof(CudaDriver.cuEventCreate));
        return new GpuEvent(_context, @event);
    }

    /// <param name="image">A cubin for this architecture.</param>
    public GpuModule LoadModule(ReadOnlySpan<byte> image)
    {
        _context.MakeCurrent();
        fixed (byte* pointer = image)
        {
            CudaDriver.Check(CudaDriver.cuModuleLoadData(out var module, pointer), nameof(CudaDriver.cuModuleLoadData));
            return new GpuModule(_context, module);
        }
    }

    /// <summary>A kernel, allowed <paramref name="sharedBytes"/> of shared memory a block.</summary>
    public nint Function(GpuModule module, string name, int sharedBytes)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuModuleGetFunction(out var function, module.Value, name), $"{nameof(CudaDriver.cuModuleGetFunction)} of {name}");
        CudaDriver.Check(CudaDriver.cuFuncSetAttribute(function, CudaDriver.MaxDynamicSharedBytes, sharedBytes), $"{nameof(CudaDriver.cuFuncSetAttribute)} of {name}, {sharedBytes} bytes of shared memory");
        return function;
    }

    /// <summary>Starts a kernel; it has run when the stream got there.</summary>
    /// <param name="arguments">A pointer to each argument; read during the call.</param>
    public void Launch(GpuStream stream, nint function, Extent grid, Extent block, int sharedBytes, void** arguments)
    {
        _context.MakeCurrent();
        CudaDriver.Check(
            CudaDriver.cuLaunchKernel(
                function, (uint)grid.X, (uint)grid.Y, (uint)grid.Z, (uint)block.X, (uint)block.Y, (uint)block.Z, (uint)sharedBytes, stream.Value, arguments, null),
            nameof(CudaDriver.cuLaunchKernel));
    }

    /// <summary>Copies to the device. <paramref name="from"/> must stay as it is until the stream got there, and be pinned if that is to happen beside other work.</summary>
    public void Upload(GpuStream stream, void* from, GpuMemory to, long offset, long bytes)
    {
        CheckRange(to.Bytes, offset, bytes);
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemcpyHtoDAsync(to.Value + (nint)offset, from, (nuint)bytes, stream.Value), nameof(CudaDriver.cuMemcpyHtoDAsync));
    }

    /// <summary>Copies to the host; there when the stream got there.</summary>
    public void Download(GpuStream stream, GpuMemory from, long offset, void* to, long bytes)
    {
        CheckRange(from.Bytes, offset, bytes);
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemcpyDtoHAsync(to, from.Value + (nint)offset, (nuint)bytes, stream.Value), nameof(CudaDriver.cuMemcpyDtoHAsync));
    }

    public void Copy(GpuStream stream, GpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes)
    {
        CheckRange(from.Bytes, fromOffset, bytes);
        CheckRange(to.Bytes, toOffset, bytes);
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemcpyDtoDAsync(to.Value + (nint)toOffset, from.Value + (nint)fromOffset, (nuint)bytes, stream.Value), nameof(CudaDriver.cuMemcpyDtoDAsync));
    }

    public void Clear(GpuStream stream, GpuMemory memory)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuMemsetD8Async(memory.Value, 0, (nuint)memory.Bytes, stream.Value), nameof(CudaDriver.cuMemsetD8Async));
    }

    /// <summary>Waits until the stream has done all it was given.</summary>
    /// <exception cref="CudaException">Also for what an earlier kernel did wrong.</exception>
    public void Wait(GpuStream stream)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuStreamSynchronize(stream.Value), nameof(CudaDriver.cuStreamSynchronize));
    }

    public void Record(GpuStream stream, GpuEvent @event)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuEventRecord(@event.Value, stream.Value), nameof(CudaDriver.cuEventRecord));
    }

    /// <summary>Waits until the event has happened.</summary>
    /// <exception cref="CudaException">Also for what an earlier kernel did wrong.</exception>
    public void WaitFor(GpuEvent @event)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuEventSynchronize(@event.Value), nameof(CudaDriver.cuEventSynchronize));
    }

    /// <summary>The event has happened, or was never set.</summary>
    /// <exception cref="CudaException">Also for what an earlier kernel did wrong.</exception>
    public bool HasPassed(GpuEvent @event)
    {
        _context.MakeCurrent();
        var code = CudaDriver.cuEventQuery(@event.Value);
        if (code == CudaDriver.NotReady)
        {
            return false;
        }

        CudaDriver.Check(code, nameof(CudaDriver.cuEventQuery));
        return true;
    }

    /// <summary>The stream goes on when the event has happened.</summary>
    public void WaitFor(GpuStream stream, GpuEvent @event)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuStreamWaitEvent(stream.Value, @event.Value, 0), nameof(CudaDriver.cuStreamWaitEvent));
    }

    /// <summary>Waits for the later event, and returns the device's time from the earlier one.</summary>
    public TimeSpan Elapsed(GpuEvent from, GpuEvent to)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuEventSynchronize(to.Value), nameof(CudaDriver.cuEventSynchronize));
        CudaDriver.Check(CudaDriver.cuEventElapsedTime(out var milliseconds, from.Value, to.Value), nameof(CudaDriver.cuEventElapsedTime));
        return TimeSpan.FromMilliseconds(milliseconds);
    }

    /// <summary>Records what <paramref name="work"/> gives to the stream, without running it.</summary>
    public GpuGraph Capture(GpuStream stream, Action work)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuStreamBeginCapture(stream.Value, CudaDriver.CaptureThreadLocal), nameof(CudaDriver.cuStreamBeginCapture));
        nint graph = 0;
        try
        {
            try
            {
                work();
            }
            catch
            {
                // The stream must be told in any case; what came of the capture is no use.
                _ = CudaDriver.cuStreamEndCapture(stream.Value, out graph);
                throw;
            }

            CudaDriver.Check(CudaDriver.cuStreamEndCapture(stream.Value, out graph), nameof(CudaDriver.cuStreamEndCapture));
            CudaDriver.Check(CudaDriver.cuGraphInstantiateWithFlags(out var executable, graph, 0), nameof(CudaDriver.cuGraphInstantiateWithFlags));
            return new GpuGraph(_context, executable);
        }
        finally
        {
            if (graph != 0)
            {
                _ = CudaDriver.cuGraphDestroy(graph);
            }
        }
    }

    public void Launch(GpuStream stream, GpuGraph graph)
    {
        _context.MakeCurrent();
        CudaDriver.Check(CudaDriver.cuGraphLaunch(graph.Value, stream.Value), nameof(CudaDriver.cuGraphLaunch));
    }

    private void EnsureReaches(Guid id)
    {
        CudaDriver.Check(CudaDriver.cuDeviceGetCount(out var count), nameof(CudaDriver.cuDeviceGetCount));
        for (var ordinal = 0; ordinal < count; ordinal++)
        {
            if (IdOf(ordinal) != id)
            {
                continue;
            }

            var can = 1;
            if (ordinal != Description.Ordinal)
            {
                CudaDriver.Check(CudaDriver.cuDeviceCanAccessPeer(out can, DeviceOf(Description.Ordinal), DeviceOf(ordinal)), nameof(CudaDriver.cuDeviceCanAccessPeer));
            }

            if (can != 0)
            {
                return;
            }

            throw new CudaUnavailableException($"cuda:{Description.Ordinal} does not reach the memory of cuda:{ordinal} (no NVLink and no peer access over PCIe)");
        }

        throw new CudaUnavailableException($"the memory is on GPU {id}, which is none of the {count} that this process sees (CUDA_VISIBLE_DEVICES)");
    }

    private static int DeviceOf(int ordinal)
    {
        CudaDriver.Check(CudaDriver.cuDeviceGet(out var device, ordinal), nameof(CudaDriver.cuDeviceGet));
        return device;
    }

    private static Guid IdOf(int ordinal)
    {
        Span<byte> id = stackalloc byte[16];
        fixed (byte* first = id)
        {
            CudaDriver.Check(CudaDriver.cuDeviceGetUuid(first, DeviceOf(ordinal)), nameof(CudaDriver.cuDeviceGetUuid));
        }

        return new Guid(id);
    }

    private static void CheckRange(long size, long offset, long bytes)
    {
        if (offset < 0 || bytes < 0 || offset > size - bytes)
        {
            throw new ArgumentException($"bytes [{offset}, {offset + bytes}) of memory that has {size}");
        }
    }

    private static GpuDescription Describe(int ordinal, int device)
    {
        int Attribute(int attribute)
        {
            CudaDriver.Check(CudaDriver.cuDeviceGetAttribute(out var value, attribute, device), $"{nameof(CudaDriver.cuDeviceGetAttribute)} {attribute}");
            return value;
        }

        byte* name = stackalloc byte[256];
        CudaDriver.Check(CudaDriver.cuDeviceGetName(name, 256, device), nameof(CudaDriver.cuDeviceGetName));
        CudaDriver.Check(CudaDriver.cuDriverGetVersion(out var driver), nameof(CudaDriver.cuDriverGetVersion));
        return new GpuDescription(
            ordinal,
            Marshal.PtrToStringUTF8((nint)name)!,
            $"sm_{10 * Attribute(CudaDriver.ComputeCapabilityMajor) + Attribute(CudaDriver.ComputeCapabilityMinor)}",
            Attribute(CudaDriver.MultiprocessorCount),
            driver,
            Attribute(CudaDriver.MaxSharedMemoryPerBlockOptIn));
    }
}
