using System.Runtime.InteropServices;
using System.Text;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>
/// A GPU that runs the real kernels in the emulation of tests/CudaKernels, each launch at once. A race, a read of memory that nobody has written or an access out of bounds throws. The
/// emulation is one a process, so that GPUs take turns.
/// </summary>
internal sealed unsafe class EmulatedGpu : IGpu
{
    private readonly delegate* unmanaged<byte*, nuint, nint> _allocate;
    private readonly delegate* unmanaged<nint, void> _free;
    private readonly delegate* unmanaged<nint, void*, nuint, void> _write;
    private readonly delegate* unmanaged<byte*, nint> _kernel;
    private readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, void**, byte*> _launch;
    private static readonly Lock Turn = new();
    private List<Action>? _captured;
    private int _live;

    public EmulatedGpu(string folder)
    {
        var library = NativeLibrary.Load(Path.Combine(folder, "libemulated-gpu.so"));
        _allocate = (delegate* unmanaged<byte*, nuint, nint>)NativeLibrary.GetExport(library, "emulated_allocate");
        _free = (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "emulated_free");
        _write = (delegate* unmanaged<nint, void*, nuint, void>)NativeLibrary.GetExport(library, "emulated_write");
        _kernel = (delegate* unmanaged<byte*, nint>)NativeLibrary.GetExport(library, "emulated_kernel");
        _launch = (delegate* unmanaged<nint, uint, uint, uint, uint, uint, void**, byte*>)NativeLibrary.GetExport(library, "emulated_launch");
    }

    /// <summary>Allocations not yet returned.</summary>
    public int Live => Volatile.Read(ref _live);

    public int Captures { get; private set; }

    public string Architecture => "emulated";

    /// <summary>So few that small products have more blocks than this, or fewer.</summary>
    public int Multiprocessors => 2;

    public (long Free, long Total) MemoryInfo() => (1L << 30, 1L << 30);

    public IGpuMemory Allocate(long bytes)
    {
        fixed (byte* name = "device memory\0"u8)
        {
            lock (Turn)
            {
                return new Memory(this, _allocate(name, (nuint)bytes), bytes);
            }
        }
    }

    public IGpuMemory AllocatePinned(long bytes) => Allocate(bytes);

    public nint Kernel(string name, int sharedBytes)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
        {
            nint kernel;
            lock (Turn)
            {
                kernel = _kernel(text);
            }

            return kernel != 0 ? kernel : throw new InvalidOperationException($"tests/CudaKernels/EmulatedGpu.cpp has no {name}");
        }
    }

    public void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments)
    {
        if (_captured is { } captured)
        {
            // Arguments are read at the time of the call. No kernel has more than 16, nor longer ones than 32 bytes.
            var copies = new byte[16 * 32];
            for (var i = 0; i < 16 && arguments[i] is not null; i++)
            {
                new ReadOnlySpan<byte>(arguments[i], 32).CopyTo(copies.AsSpan(32 * i));
            }

            captured.Add(() => LaunchCopy(kernel, grid, block, sharedBytes, copies));
            return;
        }

        lock (Turn)
        {
            var faults = Marshal.PtrToStringUTF8((nint)_launch(kernel, (uint)grid.X, (uint)grid.Y, (uint)grid.Z, (uint)block.X, (uint)sharedBytes, arguments))!;
            Assert.True(faults.Length == 0, faults);
        }
    }

    public void Upload(void* from, IGpuMemory to, long offset, long bytes)
    {
        Assert.InRange(offset + bytes, 0, to.Bytes);
        lock (Turn)
        {
            _write(to.Value + (nint)offset, from, (nuint)bytes);
        }
    }

    public void Download(IGpuMemory from, long offset, void* to, long bytes)
    {
        Assert.InRange(offset + bytes, 0, from.Bytes);
        Buffer.MemoryCopy((void*)(from.Value + (nint)offset), to, bytes, bytes);
    }

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes) => Upload((void*)(from.Value + (nint)fromOffset), to, toOffset, bytes);

    public void Clear(IGpuMemory memory)
    {
        // Left as it is: the emulation finds reads of what nobody has written.
    }

    public IGpuCopies CreateCopies()
    {
        Interlocked.Increment(ref _live);
        return new Copies(this);
    }

    public IGpuMark CreateMark()
    {
        Interlocked.Increment(ref _live);
        return new Mark(this);
    }

    public void Set(IGpuMark mark)
    {
    }

    public void Wait()
    {
    }

    public IDisposable Capture(Action work)
    {
        Captures++;
        _captured = [];
        try
        {
            work();
            return new Graph(_captured);
        }
        finally
        {
            _captured = null;
        }
    }

    public void Replay(IDisposable graph) => ((Graph)graph).Launches.ForEach(launch => launch());

    public void Dispose()
    {
    }

    private void LaunchCopy(nint kernel, Extent grid, Extent block, int sharedBytes, byte[] copies)
    {
        var pointers = stackalloc void*[16];
        fixed (byte* first = copies)
        {
            for (var i = 0; i < 16; i++)
            {
                pointers[i] = first + 32 * i;
            }

            Launch(kernel, grid, block, sharedBytes, pointers);
        }
    }

    private sealed class Mark(EmulatedGpu gpu) : IGpuMark
    {
        public void Dispose() => Interlocked.Decrement(ref gpu._live);
    }

    private sealed class Copies(EmulatedGpu gpu) : IGpuCopies
    {
        public void Upload(void* from, IGpuMemory to, long offset, long bytes) => gpu.Upload(from, to, offset, bytes);

        public void Download(IGpuMemory from, long offset, void* to, long bytes) => gpu.Download(from, offset, to, bytes);

        public void After(IGpuMark mark)
        {
        }

        public void Wait()
        {
        }

        public void Dispose() => Interlocked.Decrement(ref gpu._live);
    }

    private sealed class Graph(List<Action> launches) : IDisposable
    {
        public List<Action> Launches { get; } = launches;

        public void Dispose() => Launches.Clear();
    }

    private sealed class Memory : IGpuMemory
    {
        private readonly EmulatedGpu _gpu;
        private nint _value;

        public Memory(EmulatedGpu gpu, nint value, long bytes)
        {
            (_gpu, _value, Bytes) = (gpu, value, bytes);
            Interlocked.Increment(ref gpu._live);
        }

        public nint Value => _value != 0 ? _value : throw new ObjectDisposedException(nameof(Memory));

        public long Bytes { get; }

        public void Dispose()
        {
            if (_value != 0)
            {
                lock (Turn)
                {
                    _gpu._free(_value);
                }

                _value = 0;
                Interlocked.Decrement(ref _gpu._live);
            }
        }
    }
}
