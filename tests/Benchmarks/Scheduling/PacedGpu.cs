using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.SchedulingBenchmark;

/// <summary>
/// A GPU that computes nothing and takes its time: each recorded step that it is given takes as long as the last, after what it was given before. It keeps the time for which it had nothing to do between two
/// steps. The real runner and engine drive it, so that what is left is theirs.
/// </summary>
internal sealed unsafe class PacedGpu(TimeProvider time, TimeSpan step) : IGpu
{
    private long _busyUntil;
    private long _waited;

    /// <summary>Time without work between steps so far, and steps.</summary>
    public TimeSpan Idle { get; private set; }

    public int Steps { get; private set; }

    /// <summary>Time for which the host waited for it.</summary>
    public TimeSpan Waited => time.GetElapsedTime(0, _waited);

    public string Architecture => "paced";

    public int Multiprocessors => 100;

    public (long Free, long Total) MemoryInfo() => (1L << 40, 1L << 40);

    public IGpuMemory Allocate(long bytes) => new Memory(bytes);

    public IGpuMemory AllocatePinned(long bytes) => new Memory(bytes);

    public DeviceExport? Share(IGpuMemory memory) => null;

    public IGpuMemory OpenShared(DeviceExport export, long bytes) => throw new NotSupportedException();

    public void Abandon(IGpuMemory memory)
    {
    }

    public nint Kernel(string name, int sharedBytes) => 1;

    public void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments)
    {
    }

    public void Upload(void* from, IGpuMemory to, long offset, long bytes)
    {
    }

    /// <summary>The results of sampling: token 5 for all.</summary>
    public void Download(IGpuMemory from, long offset, void* to, long bytes) =>
        new Span<SampleResult>(to, (int)(bytes / sizeof(SampleResult))).Fill(new SampleResult { Token = 5, BadToken = -1 });

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes)
    {
    }

    public void Clear(IGpuMemory memory)
    {
    }

    public ILibraryProducts CreateLibraryProducts() => throw new NotSupportedException();

    public IReadOnlyList<ICollective> Join(IReadOnlyList<IGpu> others) => throw new NotSupportedException();

    public IGpuCopies CreateCopies() => throw new NotSupportedException();

    public IGpuMark CreateMark() => new Mark();

    public void Set(IGpuMark mark) => ((Mark)mark).At = _busyUntil;

    public TimeSpan Elapsed(IGpuMark from, IGpuMark to) => throw new NotSupportedException();

    public void WaitFor(IGpuMark mark) => SpinUntil(((Mark)mark).At);

    public void Wait() => SpinUntil(_busyUntil);

    public IDisposable Capture(Action work)
    {
        work();
        return new MemoryStream();
    }

    public void Replay(IDisposable graph)
    {
        long now = time.GetTimestamp();
        if (_busyUntil > 0 && now > _busyUntil)
        {
            Idle += time.GetElapsedTime(_busyUntil, now);
        }

        _busyUntil = Math.Max(now, _busyUntil) + (long)(step.TotalSeconds * time.TimestampFrequency);
        Steps++;
    }

    /// <summary>What has passed since <paramref name="since"/> has not passed for the GPU.</summary>
    public void Skip(long since) => _busyUntil += time.GetTimestamp() - since;

    public void Dispose()
    {
    }

    private void SpinUntil(long at)
    {
        long started = time.GetTimestamp(), now = started;
        while (now < at)
        {
            now = time.GetTimestamp();
        }

        _waited += now - started;
    }

    private sealed class Mark : IGpuMark
    {
        public long At { get; set; }

        public void Dispose()
        {
        }
    }

    private sealed class Memory : IGpuMemory
    {
        public Memory(long bytes) => (Bytes, Value) = (bytes, (nint)NativeMemory.AllocZeroed((nuint)bytes));

        public nint Value { get; private set; }

        public long Bytes { get; }

        public void Dispose()
        {
            NativeMemory.Free((void*)Value);
            Value = 0;
        }
    }
}
