using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>A GPU by its driver, with the kernels of one model and a stream of its own. Owns the device.</summary>
internal sealed unsafe class CudaGpu : IGpu
{
    private const string HopperArchitecture = "sm_90";

    private readonly GpuDevice _device;
    private readonly GpuStream _stream;
    private readonly GpuModule _module;
    private readonly CompiledKernels _kernels;
    private readonly CudaSetup _setup;

    private CudaGpu(GpuDevice device, GpuStream stream, GpuModule module, CompiledKernels kernels, CudaSetup setup) =>
        (_device, _stream, _module, _kernels, _setup) = (device, stream, module, kernels, setup);

    /// <param name="device">Taken over, also where this fails.</param>
    public static CudaGpu Load(GpuDevice device, KernelCache cache, ModelKernels kernels, CudaSetup setup)
    {
        GpuStream? stream = null;
        try
        {
            if (kernels.Hopper && device.Description.Architecture != HopperArchitecture)
            {
                throw new CudaUnavailableException($"--cuda-gemm wgmma: {device.Description.Name} is of {device.Description.Architecture}; these instructions are {HopperArchitecture}'s alone (own does without)");
            }

            var compiled = cache.Get(KernelSources.BuiltIn(), kernels.Names, kernels.Options(device.Description.Architecture));
            stream = device.CreateStream();
            return new CudaGpu(device, stream, device.LoadModule(compiled.Image), compiled, setup);
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
        var setup = new CudaSetup(libraries, environment);
        setup.Load(WantedLibrary.Driver, WantedLibrary.Nvrtc);
        var device = GpuDevice.Open(ordinal);
        var cache = new KernelCache(KernelCache.DefaultFolder(environment), new NvrtcCompiler(), $"{device.Description.DriverVersion}");
        return Load(device, cache, kernels, setup);
    }

    public (long Free, long Total) MemoryInfo() => _device.MemoryInfo();

    public IGpuMemory Allocate(long bytes) => _device.Allocate(bytes);

    public IGpuMemory AllocatePinned(long bytes) => _device.AllocatePinned(bytes);

    public DeviceExport? Share(IGpuMemory memory) => _device.Share((GpuMemory)memory);

    public IGpuMemory OpenShared(DeviceExport export, long bytes) => _device.OpenShared(export, bytes);

    public void Abandon(IGpuMemory memory) => ((GpuMemory)memory).SetHandleAsInvalid();

    public nint Kernel(string name, int sharedBytes) => _device.Function(_module, _kernels.Names[name], sharedBytes);

    public void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments) => _device.Launch(_stream, kernel, grid, block, sharedBytes, arguments);

    public void Upload(void* from, IGpuMemory to, long offset, long bytes) => _device.Upload(_stream, from, (GpuMemory)to, offset, bytes);

    public void Download(IGpuMemory from, long offset, void* to, long bytes) => _device.Download(_stream, (GpuMemory)from, offset, to, bytes);

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes) =>
        _device.Copy(_stream, (GpuMemory)from, fromOffset, (GpuMemory)to, toOffset, bytes);

    public void Clear(IGpuMemory memory) => _device.Clear(_stream, (GpuMemory)memory);

    public ILibraryProducts CreateLibraryProducts()
    {
        _setup.Load(WantedLibrary.CublasLt);
        var machine = $"{_device.Description.Name} {_device.Description.Architecture} driver {_device.Description.DriverVersion} cuBLASLt {CublasLt.cublasLtGetVersion()}";
        return new CublasLtProducts(_device, _stream, new AlgorithmCache(AlgorithmCache.DefaultFolder(_setup.Environment), machine));
    }

    public IReadOnlyList<ICollective> Join(IReadOnlyList<IGpu> others)
    {
        _setup.Load(WantedLibrary.Nccl);
        return NcclCollective.Join([(_device, _stream), .. others.Cast<CudaGpu>().Select(gpu => (gpu._device, gpu._stream))]);
    }

    public IGpuCopies CreateCopies() => new GpuCopies(_device, _device.CreateStream());

    public IGpuMark CreateMark() => _device.CreateEvent();

    public void Set(IGpuMark mark) => _device.Record(_stream, (GpuEvent)mark);

    public void WaitFor(IGpuMark mark) => _device.WaitFor((GpuEvent)mark);

    public TimeSpan Elapsed(IGpuMark from, IGpuMark to) => _device.Elapsed((GpuEvent)from, (GpuEvent)to);

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

/// <summary>Where the libraries and caches of this machine are.</summary>
/// <param name="Libraries">Folders in which libraries are looked for first.</param>
/// <param name="Environment">As <see cref="System.Environment.GetEnvironmentVariable(string)"/>.</param>
internal sealed record CudaSetup(IReadOnlyList<string> Libraries, Func<string, string?> Environment)
{
    /// <exception cref="CudaUnavailableException">One is missing.</exception>
    public void Load(params WantedLibrary[] wanted) => CudaLibraries.Load(new LibraryFinder("/", Environment), Libraries, wanted);
}

/// <summary>Copies on a stream of their own, which it owns.</summary>
internal sealed unsafe class GpuCopies(GpuDevice device, GpuStream stream) : IGpuCopies
{
    public void Upload(void* from, IGpuMemory to, long offset, long bytes) => device.Upload(stream, from, (GpuMemory)to, offset, bytes);

    public void Download(IGpuMemory from, long offset, void* to, long bytes) => device.Download(stream, (GpuMemory)from, offset, to, bytes);

    public void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes) => device.Copy(stream, (GpuMemory)from, fromOffset, to, toOffset, bytes);

    public void After(IGpuMark mark) => device.WaitFor(stream, (GpuEvent)mark);

    public bool HasPassed(IGpuMark mark) => device.HasPassed((GpuEvent)mark);

    public void Wait() => device.Wait(stream);

    public void Dispose() => stream.Dispose();
}
