using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>Memory of the device, or of the host where the device reaches it.</summary>
internal interface IGpuMemory : IDisposable
{
    /// <summary>Its address; valid until disposed.</summary>
    nint Value { get; }

    long Bytes { get; }
}

/// <summary>A point in the work of a GPU, which can be set anew.</summary>
internal interface IGpuMark : IDisposable;

/// <summary>Copies in the order of a stream of their own. One caller at a time.</summary>
internal unsafe interface IGpuCopies : IDisposable
{
    /// <summary><paramref name="from"/> is pinned and stays as it is until <see cref="Wait"/>.</summary>
    void Upload(void* from, IGpuMemory to, long offset, long bytes);

    /// <summary>There after <see cref="Wait"/>.</summary>
    void Download(IGpuMemory from, long offset, void* to, long bytes);

    /// <summary>Within the device, or to memory of another that is open here.</summary>
    void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes);

    /// <summary>What follows goes on when the GPU has come to where the mark was set last.</summary>
    void After(IGpuMark mark);

    /// <summary>The GPU has come to where the mark was set last.</summary>
    bool HasPassed(IGpuMark mark);

    /// <summary>Until all that was given has been done.</summary>
    void Wait();
}

/// <summary>
/// What computing a model asks of a GPU: memory, copies, and launches of the model's kernels, all in the order of one stream. The seam between the logic of steps and the driver:
/// tests put an emulation of the kernels, or a recorder, in the driver's place. One caller at a time.
/// </summary>
internal unsafe interface IGpu : IDisposable
{
    /// <summary>As in sm_90.</summary>
    string Architecture { get; }

    int Multiprocessors { get; }

    /// <summary>Bytes of memory that are free now, and in all.</summary>
    (long Free, long Total) MemoryInfo();

    /// <summary>Memory of unknown content.</summary>
    IGpuMemory Allocate(long bytes);

    /// <summary>Memory of the host that copies from and to the device use while the host goes on.</summary>
    IGpuMemory AllocatePinned(long bytes);

    /// <summary>Memory of the device for other processes to open; null where the driver does not share it. It must not be freed while one has it open.</summary>
    DeviceExport? Share(IGpuMemory memory);

    /// <summary>Opens what another process shares, on this device or one that it reaches. Disposing closes it.</summary>
    /// <param name="bytes">From the export's offset on.</param>
    /// <exception cref="Native.CudaUnavailableException">It cannot be reached from here.</exception>
    /// <exception cref="Native.CudaException">The driver refuses.</exception>
    IGpuMemory OpenShared(DeviceExport export, long bytes);

    /// <summary>Leaves memory to the driver: disposing does not free it from now on.</summary>
    void Abandon(IGpuMemory memory);

    /// <summary>A kernel of the model by its C++ name, allowed so much shared memory a block.</summary>
    nint Kernel(string name, int sharedBytes);

    /// <param name="arguments">A pointer to each argument; read during the call.</param>
    void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments);

    /// <summary><paramref name="from"/> is pinned and stays as it is until <see cref="Wait"/>.</summary>
    void Upload(void* from, IGpuMemory to, long offset, long bytes);

    /// <summary>There after <see cref="Wait"/>.</summary>
    void Download(IGpuMemory from, long offset, void* to, long bytes);

    void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes);

    /// <summary>Fills with zeros.</summary>
    void Clear(IGpuMemory memory);

    /// <summary>Products by the device maker's library, in the order of this GPU's stream. Dispose of it before the GPU.</summary>
    /// <exception cref="Native.CudaUnavailableException">The library is not there.</exception>
    ILibraryProducts CreateLibraryProducts();

    /// <summary>Joins this GPU, as the first rank, and others of its kind to a group. Dispose of the parts before the GPUs.</summary>
    /// <returns>Each GPU's part, this one's first.</returns>
    /// <exception cref="Native.CudaUnavailableException">A library is missing.</exception>
    /// <exception cref="Native.CudaException">They cannot be joined.</exception>
    IReadOnlyList<ICollective> Join(IReadOnlyList<IGpu> others);

    /// <summary>A stream of its own for copies beside this one's work; its caller may be another thread than this one's. Dispose of it before the GPU.</summary>
    IGpuCopies CreateCopies();

    IGpuMark CreateMark();

    /// <summary>Sets a mark to the end of what was given so far. Not while recording.</summary>
    void Set(IGpuMark mark);

    /// <summary>Until the GPU has come to where the mark was set last.</summary>
    void WaitFor(IGpuMark mark);

    /// <summary>Waits for the later mark, and returns the GPU's time from the earlier one.</summary>
    TimeSpan Elapsed(IGpuMark from, IGpuMark to);

    /// <summary>Until all that was given has been done.</summary>
    void Wait();

    /// <summary>Records the launches that <paramref name="work"/> makes, without running them. Kernels and addresses stay as they are; what is in memory may change between runs.</summary>
    IDisposable Capture(Action work);

    /// <summary>Runs what was recorded.</summary>
    void Replay(IDisposable graph);
}
