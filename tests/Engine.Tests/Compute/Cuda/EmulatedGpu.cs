using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>
/// A GPU that runs the real kernels in the emulation of tests/CudaKernels: each thing that it is given at once, or, where it lags, when somebody waits for it, with host memory as it is by then. A race, a
/// read of memory that nobody has written, an access out of bounds, or the return of memory while there is work to do throws. The emulation is one a process, so that GPUs take turns.
/// </summary>
internal sealed unsafe class EmulatedGpu : IGpu
{
    private readonly delegate* unmanaged<byte*, nuint, nint> _allocate;
    private readonly delegate* unmanaged<nint, void> _free;
    private readonly delegate* unmanaged<nint, void*, nuint, void> _write;
    private readonly delegate* unmanaged<byte*, nint> _kernel;
    private readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, void**, byte*> _launch;
    private static readonly Lock Turn = new();

    /// <summary>What any of them shares: each is a process of its own on the one device.</summary>
    private static readonly ConcurrentDictionary<Guid, Memory> Shared = new();
    private readonly bool _lags;
    private readonly Queue<Action> _given = new();
    private List<Action>? _captured;
    private int _live;

    public EmulatedGpu(string folder, bool lags = false)
    {
        _lags = lags;
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

    /// <summary>Products that a library was asked for.</summary>
    public int LibraryProducts { get; private set; }

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

    public DeviceExport? Share(IGpuMemory memory)
    {
        var own = (Memory)memory;
        own.Handle = Guid.NewGuid();
        Shared[own.Handle] = own;
        return new DeviceExport(Guid.Empty, own.Handle.ToByteArray(), 0);
    }

    public IGpuMemory OpenShared(DeviceExport export, long bytes)
    {
        if (!Shared.TryGetValue(new Guid(export.Handle.Span), out var memory))
        {
            throw new CudaUnavailableException("there is no such memory");
        }

        Assert.Equal(memory.Bytes, bytes);
        return new Opened(memory);
    }

    public void Abandon(IGpuMemory memory) => ((Memory)memory).IsAbandoned = true;

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
            var copies = CopyOf(arguments);
            captured.Add(() => LaunchCopy(kernel, grid, block, sharedBytes, copies));
            return;
        }

        if (_lags)
        {
            var copies = CopyOf(arguments);
            Give(() => LaunchCopy(kernel, grid, block, sharedBytes, copies));
            return;
        }

        LaunchNow(kernel, grid, block, sharedBytes, arguments);
    }

    public void Upload(void* from, IGpuMemory to, long offset, long bytes)
    {
        Assert.InRange(offset + bytes, 0, to.Bytes);
        Give(() => Write(from, to.Value + (nint)offset, bytes));
    }

    public void Download(IGpuMemory from, long offset, void* to, long bytes)
    {
        Assert.InRange(offset + bytes, 0, from.Bytes);
        Give(() => Buffer.MemoryCopy((void*)(from.Value + (nint)offset), to, bytes, bytes));
    }

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes) => Upload((void*)(from.Value + (nint)fromOffset), to, toOffset, bytes);

    public void Clear(IGpuMemory memory)
    {
        // Left as it is: the emulation finds reads of what nobody has written.
    }

    public ILibraryProducts CreateLibraryProducts()
    {
        Interlocked.Increment(ref _live);
        return new Library(this);
    }

    public IReadOnlyList<ICollective> Join(IReadOnlyList<IGpu> others)
    {
        var group = new EmulatedGroup(others.Count + 1, Write);
        return [.. others.Cast<EmulatedGpu>().Prepend(this).Select((gpu, rank) => new Collective(gpu, group, rank))];
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
        lock (_given)
        {
            var point = new Action(() => { });
            ((Mark)mark).Point = point;
            Give(point);
        }
    }

    public TimeSpan Elapsed(IGpuMark from, IGpuMark to) => throw new NotSupportedException();

    public void WaitFor(IGpuMark mark)
    {
        lock (_given)
        {
            while (((Mark)mark).Point is { } point && _given.Contains(point))
            {
                _given.Dequeue()();
            }
        }
    }

    public void Wait()
    {
        lock (_given)
        {
            while (_given.TryDequeue(out var next))
            {
                next();
            }
        }
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

    public void Replay(IDisposable graph)
    {
        var launches = ((Graph)graph).Launches;
        Give(() => launches.ForEach(launch => launch()));
    }

    public void Dispose()
    {
    }

    /// <summary>Now, or whenever what is being recorded is replayed.</summary>
    private void Record(Action work)
    {
        if (_captured is { } captured)
        {
            captured.Add(work);
        }
        else
        {
            Give(work);
        }
    }

    private void Give(Action work)
    {
        if (!_lags)
        {
            work();
            return;
        }

        lock (_given)
        {
            _given.Enqueue(work);
        }
    }

    private void Write(void* from, nint to, long bytes)
    {
        lock (Turn)
        {
            _write(to, from, (nuint)bytes);
        }
    }

    private void LaunchNow(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments)
    {
        lock (Turn)
        {
            var faults = Marshal.PtrToStringUTF8((nint)_launch(kernel, (uint)grid.X, (uint)grid.Y, (uint)grid.Z, (uint)block.X, (uint)sharedBytes, arguments))!;
            Assert.True(faults.Length == 0, faults);
        }
    }

    /// <summary>Arguments are read at the time of the call. No kernel has more than 16, nor longer ones than 32 bytes.</summary>
    private static byte[] CopyOf(void** arguments)
    {
        var copies = new byte[16 * 32];
        for (var i = 0; i < 16 && arguments[i] is not null; i++)
        {
            new ReadOnlySpan<byte>(arguments[i], 32).CopyTo(copies.AsSpan(32 * i));
        }

        return copies;
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

            LaunchNow(kernel, grid, block, sharedBytes, pointers);
        }
    }

    /// <summary>Sums from the last input to the first: right, and with other bits than the kernels.</summary>
    private sealed class Library(EmulatedGpu gpu) : ILibraryProducts
    {
        public void Tune(ProductShape shape, ProductOperands operands, IReadOnlyList<int> rows)
        {
        }

        public void Multiply(ProductShape shape, ProductOperands operands, int rows)
        {
            gpu.LibraryProducts++;
            gpu.Record(() => Run(shape, operands, rows));
        }

        public void Dispose() => Interlocked.Decrement(ref gpu._live);

        private void Run(ProductShape shape, ProductOperands operands, int rows)
        {
            float Read(nint from, long i) => shape.Compute == ComputeType.BFloat16
                ? BitConverter.UInt32BitsToSingle((uint)((ushort*)from)[i] << 16)
                : (float)BitConverter.UInt16BitsToHalf(((ushort*)from)[i]);
            for (int row = 0; row < rows; row++)
            {
                for (int output = 0; output < shape.Outputs; output++)
                {
                    float sum = shape.Bias ? Read(operands.Bias, output) : 0;
                    for (int input = shape.Inputs - 1; input >= 0; input--)
                    {
                        sum += Read(operands.Inputs, (long)row * shape.Inputs + input) * Read(operands.Weights, (long)output * shape.Inputs + input);
                    }

                    long at = (long)row * shape.Outputs + output;
                    ushort rounded = shape.Compute == ComputeType.BFloat16 ? BFloat16.Round(sum) : BitConverter.HalfToUInt16Bits((Half)sum);
                    lock (Turn)
                    {
                        gpu._write(operands.Outputs + (nint)(at * (shape.Floats ? 4 : 2)), shape.Floats ? &sum : &rounded, (nuint)(shape.Floats ? 4 : 2));
                    }
                }
            }
        }
    }

    private sealed class Collective : ICollective
    {
        private readonly EmulatedGpu _gpu;
        private readonly EmulatedGroup _group;
        private readonly int _rank;

        public Collective(EmulatedGpu gpu, EmulatedGroup group, int rank)
        {
            (_gpu, _group, _rank) = (gpu, group, rank);
            Interlocked.Increment(ref gpu._live);
        }

        public void Sum(nint values, long count) => _gpu.Record(() => _group.Sum(_rank, values, (int)count));

        public void Broadcast(nint values, long bytes) => _gpu.Record(() => _group.Broadcast(_rank, values, (int)bytes));

        public void Abort() => _group.Abort();

        public void Dispose() => Interlocked.Decrement(ref _gpu._live);
    }

    private sealed class Mark(EmulatedGpu gpu) : IGpuMark
    {
        public Action? Point { get; set; }

        public void Dispose() => Interlocked.Decrement(ref gpu._live);
    }

    private sealed class Copies(EmulatedGpu gpu) : IGpuCopies
    {
        public void Upload(void* from, IGpuMemory to, long offset, long bytes) => gpu.Write(from, to.Value + (nint)offset, bytes);

        public void Download(IGpuMemory from, long offset, void* to, long bytes) => Buffer.MemoryCopy((void*)(from.Value + (nint)offset), to, bytes, bytes);

        public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes)
        {
            Assert.InRange(fromOffset + bytes, 0, from.Bytes);
            Assert.InRange(toOffset + bytes, 0, to.Bytes);
            gpu.Write((void*)(from.Value + (nint)fromOffset), to.Value + (nint)toOffset, bytes);
        }

        public void After(IGpuMark mark) => gpu.WaitFor(mark);

        public bool HasPassed(IGpuMark mark)
        {
            lock (gpu._given)
            {
                return ((Mark)mark).Point is not { } point || !gpu._given.Contains(point);
            }
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

    private sealed class Opened : IGpuMemory
    {
        private readonly Memory _memory;
        private int _closed;

        public Opened(Memory memory)
        {
            _memory = memory;
            Interlocked.Increment(ref memory.Openings);
        }

        public nint Value => _memory.Value;

        public long Bytes => _memory.Bytes;

        public void Dispose() => Interlocked.Add(ref _memory.Openings, -(1 - Interlocked.Exchange(ref _closed, 1)));
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

        public Guid Handle { get; set; }

        public bool IsAbandoned { get; set; }

        /// <summary>By others, now.</summary>
        public int Openings;

        public void Dispose()
        {
            if (_value != 0)
            {
                _ = Shared.TryRemove(Handle, out _);
                Assert.True(IsAbandoned || Volatile.Read(ref Openings) == 0, "Memory goes back that another process has open");
                lock (_gpu._given)
                {
                    Assert.True(_gpu._given.Count == 0, "Memory goes back while the GPU has work to do");
                }

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
