using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>A GPU by its driver, with the kernels of one model and a stream of its own. Owns the device.</summary>
internal sealed unsafe class CudaGpu : IGpu
{
    private readonly GpuDevice _device;
    private readonly GpuStream _stream;
    private readonly GpuModule _module;
    private readonly CompiledKernels _kernels;

    private CudaGpu(GpuDevice device, GpuStream stream, GpuModule module, CompiledKernels kernels) =>
        (_device, _stream, _module, _kernels) = (device, stream, module, kernels);

    /// <param name="device">Taken over, also where this fails.</param>
    public static CudaGpu Load(GpuDevice device, KernelCache cache, ModelKernels kernels)
    {
        GpuStream? stream = null;
        try
        {
            var compiled = cache.Get(KernelSources.BuiltIn(), kernels.Names, ModelKernels.Options(device.Description.Architecture));
            stream = device.CreateStream();
            return new CudaGpu(device, stream, device.LoadModule(compiled.Image), compiled);
        }
        catch
        {
            stream?.Dispose();
            device.Dispose();
            throw;
        }
    }

    public string Architecture => _device.Description.Architecture;

    public int Multiprocessors => _device.Description.Multiprocessors;

    /// <summary>Opens GPU <paramref name="ordinal"/> with a model's kernels, compiled or from the user's cache.</summary>
    /// <param name="libraries">Folders in which the CUDA libraries are looked for first.</param>
    /// <exception cref="CudaUnavailableException">A library or the device is missing, or cannot be used.</exception>
    /// <exception cref="KernelCompilationException">The kernels do not compile for the device.</exception>
    public static CudaGpu Open(int ordinal, IReadOnlyList<string> libraries, ModelKernels kernels, Func<string, string?> environment)
    {
        CudaLibraries.Load(new LibraryFinder("/", environment), libraries, [WantedLibrary.Driver, WantedLibrary.Nvrtc]);
        var device = GpuDevice.Open(ordinal);
        var cache = new KernelCache(KernelCache.DefaultFolder(environment), new NvrtcCompiler(), $"{device.Description.DriverVersion}");
        return Load(device, cache, kernels);
    }

    public (long Free, long Total) MemoryInfo() => _device.MemoryInfo();

    public IGpuMemory Allocate(long bytes) => _device.Allocate(bytes);

    public IGpuMemory AllocatePinned(long bytes) => _device.AllocatePinned(bytes);

    public nint Kernel(string name, int sharedBytes) => _device.Function(_module, _kernels.Names[name], sharedBytes);

    public void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments) => _device.Launch(_stream, kernel, grid, block, sharedBytes, arguments);

    public void Upload(void* from, IGpuMemory to, long offset, long bytes) => _device.Upload(_stream, from, (GpuMemory)to, offset, bytes);

    public void Download(IGpuMemory from, long offset, void* to, long bytes) => _device.Download(_stream, (GpuMemory)from, offset, to, bytes);

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes) =>
        _device.Copy(_stream, (GpuMemory)from, fromOffset, (GpuMemory)to, toOffset, bytes);

    public void Clear(IGpuMemory memory) => _device.Clear(_stream, (GpuMemory)memory);

    public IGpuCopies CreateCopies() => new GpuCopies(_device, _device.CreateStream());

    public IGpuMark CreateMark() => _device.CreateEvent();

    public void Set(IGpuMark mark) => _device.Record(_stream, (GpuEvent)mark);

    public void WaitFor(IGpuMark mark) => _device.WaitFor((GpuEvent)mark);

    public void Wait() => _device.Wait(_stream);

    public IDisposable Capture(Action work) => _device.Capture(_stream, work);

    public void Replay(IDisposable graph) => _device.Launch(_stream, (GpuGraph)graph);

    public void Dispose()
    {
        _module.Dispose();
        _stream.Dispose();
        _device.Dispose();
    }
}

/// <summary>Copies on a stream of their own, which it owns.</summary>
internal sealed unsafe class GpuCopies(GpuDevice device, GpuStream stream) : IGpuCopies
{
    public void Upload(void* from, IGpuMemory to, long offset, long bytes) => device.Upload(stream, from, (GpuMemory)to, offset, bytes);

    public void Download(IGpuMemory from, long offset, void* to, long bytes) => device.Download(stream, (GpuMemory)from, offset, to, bytes);

    public void After(IGpuMark mark) => device.WaitFor(stream, (GpuEvent)mark);

    public void Wait() => device.Wait(stream);

    public void Dispose() => stream.Dispose();
}
