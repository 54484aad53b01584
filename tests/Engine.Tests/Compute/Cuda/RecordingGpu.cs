using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>A GPU that computes nothing: it tells what it was asked for, counts what it gave out, and fails when told to.</summary>
internal sealed unsafe class RecordingGpu : IGpu
{
    private readonly List<string> _kernels = [];
    private bool _capturing;
    private int _calls;
    private int _marks;

    /// <summary>What was asked for, in order: "kernel grid" for launches ("+" in front while capturing), and the names of the other calls.</summary>
    public List<string> Log { get; } = [];

    /// <summary>Memory and graphs not yet returned.</summary>
    public int Live { get; private set; }

    public bool Disposed { get; private set; }

    /// <summary>The call that fails, counted from 0; below 0: none.</summary>
    public int FailingCall { get; set; } = -1;

    public int Calls => _calls;

    public string Architecture => "recorder";

    public int Multiprocessors => 4;

    public long FreeBytes { get; init; } = 1L << 40;

    /// <summary>Bytes of the device given out so far.</summary>
    public long Allocated { get; private set; }

    public (long Free, long Total) MemoryInfo() => (FreeBytes, 1L << 41);

    public IGpuMemory Allocate(long bytes)
    {
        Count();
        Allocated += bytes;
        return new Memory(this, bytes);
    }

    public IGpuMemory AllocatePinned(long bytes)
    {
        Count();
        return new Memory(this, bytes);
    }

    public DeviceExport? Share(IGpuMemory memory) => null;

    public IGpuMemory OpenShared(DeviceExport export, long bytes) => throw new CudaUnavailableException("a recorder reaches nothing");

    public void Abandon(IGpuMemory memory)
    {
    }

    public nint Kernel(string name, int sharedBytes)
    {
        Count();
        _kernels.Add(name);
        return _kernels.Count;
    }

    public void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments)
    {
        Count();
        Log.Add($"{(_capturing ? "+" : "")}{_kernels[(int)kernel - 1].Split('<')[0]} {grid.X},{grid.Y},{grid.Z}");
    }

    public void Upload(void* from, IGpuMemory to, long offset, long bytes)
    {
        Count();
        Assert.InRange(offset + bytes, 0, to.Bytes);
        Log.Add("upload");
    }

    public void Download(IGpuMemory from, long offset, void* to, long bytes)
    {
        Count();
        Assert.InRange(offset + bytes, 0, from.Bytes);
        Log.Add("download");
    }

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes)
    {
        Count();
        Log.Add("copy");
    }

    public void Clear(IGpuMemory memory)
    {
        Count();
        Log.Add("clear");
    }

    public ILibraryProducts CreateLibraryProducts()
    {
        Count();
        return new Library(this);
    }

    public IReadOnlyList<ICollective> Join(IReadOnlyList<IGpu> others)
    {
        Count();
        return [.. others.Cast<RecordingGpu>().Prepend(this).Select(gpu => new Collective(gpu))];
    }

    public IGpuCopies CreateCopies()
    {
        Count();
        return new Copies(this);
    }

    public IGpuMark CreateMark()
    {
        Count();
        return new Mark(this);
    }

    public void Set(IGpuMark mark)
    {
        Count();
        Log.Add($"mark {((Mark)mark).Number}");
    }

    public TimeSpan Elapsed(IGpuMark from, IGpuMark to) => throw new NotSupportedException();

    public void WaitFor(IGpuMark mark)
    {
        Count();
        Log.Add($"wait for {((Mark)mark).Number}");
    }

    public void Wait()
    {
        Count();
        Log.Add("wait");
    }

    public IDisposable Capture(Action work)
    {
        Count();
        Log.Add("capture");
        _capturing = true;
        try
        {
            work();
            return new Graph(this);
        }
        finally
        {
            _capturing = false;
        }
    }

    public void Replay(IDisposable graph)
    {
        Count();
        Log.Add("replay");
    }

    public void Dispose() => Disposed = true;

    private void Count()
    {
        if (_calls++ == FailingCall)
        {
            throw new InvalidOperationException("the GPU fails");
        }
    }

    private sealed class Mark : IGpuMark
    {
        private readonly RecordingGpu _gpu;

        public Mark(RecordingGpu gpu)
        {
            (_gpu, Number) = (gpu, gpu._marks++);
            gpu.Live++;
        }

        /// <summary>In the order in which they were made.</summary>
        public int Number { get; }

        public void Dispose() => _gpu.Live--;
    }

    /// <summary>What it is asked for is in the GPU's log, with "copies:" in front.</summary>
    private sealed class Copies : IGpuCopies
    {
        private readonly RecordingGpu _gpu;

        public Copies(RecordingGpu gpu) => (_gpu = gpu).Live++;

        public void Upload(void* from, IGpuMemory to, long offset, long bytes) => _gpu.Log.Add($"copies: upload {bytes} to {offset}");

        public void Download(IGpuMemory from, long offset, void* to, long bytes) => _gpu.Log.Add($"copies: download {bytes} from {offset}");

        public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes) => _gpu.Log.Add($"copies: copy {bytes} from {fromOffset} to {toOffset}");

        public void After(IGpuMark mark) => _gpu.Log.Add($"copies: after {((Mark)mark).Number}");

        public bool HasPassed(IGpuMark mark) => true;

        public void Wait() => _gpu.Log.Add("copies: wait");

        public void Dispose() => _gpu.Live--;
    }

    /// <summary>In the GPU's log: "tune" or "library", the outputs and inputs, and the rows.</summary>
    private sealed class Library : ILibraryProducts
    {
        private readonly RecordingGpu _gpu;

        public Library(RecordingGpu gpu) => (_gpu = gpu).Live++;

        public void Tune(ProductShape shape, ProductOperands operands, IReadOnlyList<int> rows)
        {
            _gpu.Count();
            _gpu.Log.Add($"tune {shape.Outputs}x{shape.Inputs} {string.Join(',', rows)}");
        }

        public void Multiply(ProductShape shape, ProductOperands operands, int rows)
        {
            _gpu.Count();
            _gpu.Log.Add($"{(_gpu._capturing ? "+" : "")}library {shape.Outputs}x{shape.Inputs} {rows}");
        }

        public void Dispose() => _gpu.Live--;
    }

    private sealed class Collective : ICollective
    {
        private readonly RecordingGpu _gpu;

        public Collective(RecordingGpu gpu) => (_gpu = gpu).Live++;

        public void Sum(nint values, long count)
        {
            _gpu.Count();
            _gpu.Log.Add($"{(_gpu._capturing ? "+" : "")}sum {count}");
        }

        public void Broadcast(nint values, long bytes)
        {
            _gpu.Count();
            _gpu.Log.Add($"{(_gpu._capturing ? "+" : "")}broadcast {bytes}");
        }

        public void Abort() => _gpu.Log.Add("abort");

        public void Dispose() => _gpu.Live--;
    }

    private sealed class Graph : IDisposable
    {
        private readonly RecordingGpu _gpu;

        public Graph(RecordingGpu gpu) => (_gpu = gpu).Live++;

        public void Dispose() => _gpu.Live--;
    }

    private sealed class Memory : IGpuMemory
    {
        private readonly RecordingGpu _gpu;
        private nint _value;

        public Memory(RecordingGpu gpu, long bytes)
        {
            (_gpu, Bytes, _value) = (gpu, bytes, (nint)NativeMemory.AllocZeroed((nuint)bytes));
            gpu.Live++;
        }

        public nint Value => _value != 0 ? _value : throw new ObjectDisposedException(nameof(Memory));

        public long Bytes { get; }

        public void Dispose()
        {
            if (_value != 0)
            {
                NativeMemory.Free((void*)_value);
                _value = 0;
                _gpu.Live--;
            }
        }
    }
}
