using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.GpuChecks;

/// <summary>
/// A GPU that has marks set around the recorded steps: before the first thing that is given to it for a step, and after the last, which is what a runner sets its own mark after. Between the two of neighbouring
/// steps the GPU has nothing to do. Owns the GPU.
/// </summary>
internal sealed unsafe class TimedGpu(IGpu gpu) : IGpu
{
    /// <summary>Begin and end of each step; the flag says that it was a recorded one.</summary>
    private readonly List<(IGpuMark Begin, IGpuMark End, bool Replayed)> _steps = [];
    private IGpuMark? _begun;
    private bool _replayed;

    public bool IsTiming { get; set; }

    public string Architecture => gpu.Architecture;

    public int Multiprocessors => gpu.Multiprocessors;

    /// <summary>The time between each two recorded steps that followed one another; forgets them.</summary>
    public List<TimeSpan> TakeGaps()
    {
        gpu.Wait();
        List<TimeSpan> gaps = [.. _steps.Zip(_steps.Skip(1)).Where(pair => pair.First.Replayed && pair.Second.Replayed).Select(pair => gpu.Elapsed(pair.First.End, pair.Second.Begin))];
        Forget();
        return gaps;
    }

    public (long Free, long Total) MemoryInfo() => gpu.MemoryInfo();

    public IGpuMemory Allocate(long bytes) => gpu.Allocate(bytes);

    public IGpuMemory AllocatePinned(long bytes) => gpu.AllocatePinned(bytes);

    public DeviceExport? Share(IGpuMemory memory) => gpu.Share(memory);

    public IGpuMemory OpenShared(DeviceExport export, long bytes) => gpu.OpenShared(export, bytes);

    public void Abandon(IGpuMemory memory) => gpu.Abandon(memory);

    public nint Kernel(string name, int sharedBytes) => gpu.Kernel(name, sharedBytes);

    public void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments) => gpu.Launch(kernel, grid, block, sharedBytes, arguments);

    public void Upload(void* from, IGpuMemory to, long offset, long bytes)
    {
        if (IsTiming && _begun is null)
        {
            _begun = gpu.CreateMark();
            gpu.Set(_begun);
        }

        gpu.Upload(from, to, offset, bytes);
    }

    public void Download(IGpuMemory from, long offset, void* to, long bytes) => gpu.Download(from, offset, to, bytes);

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes) => gpu.Copy(from, fromOffset, to, toOffset, bytes);

    public void Clear(IGpuMemory memory) => gpu.Clear(memory);

    public IGpuCopies CreateCopies() => gpu.CreateCopies();

    public IGpuMark CreateMark() => gpu.CreateMark();

    public void Set(IGpuMark mark)
    {
        gpu.Set(mark);
        if (_begun is { } begun)
        {
            var end = gpu.CreateMark();
            gpu.Set(end);
            _steps.Add((begun, end, _replayed));
            (_begun, _replayed) = (null, false);
        }
    }

    public void WaitFor(IGpuMark mark) => gpu.WaitFor(mark);

    public TimeSpan Elapsed(IGpuMark from, IGpuMark to) => gpu.Elapsed(from, to);

    public void Wait() => gpu.Wait();

    public IDisposable Capture(Action work) => gpu.Capture(work);

    public ILibraryProducts CreateLibraryProducts() => gpu.CreateLibraryProducts();

    public IReadOnlyList<ICollective> Join(IReadOnlyList<IGpu> others) => gpu.Join(others);

    public void Replay(IDisposable graph)
    {
        _replayed = true;
        gpu.Replay(graph);
    }

    public void Dispose()
    {
        Forget();
        gpu.Dispose();
    }

    private void Forget()
    {
        foreach (var (begin, end, _) in _steps)
        {
            begin.Dispose();
            end.Dispose();
        }

        _begun?.Dispose();
        _begun = null;
        _steps.Clear();
    }
}
