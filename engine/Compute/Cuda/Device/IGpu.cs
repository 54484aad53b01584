namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>Memory of the device, or of the host where the device reaches it.</summary>
internal interface IGpuMemory : IDisposable
{
    /// <summary>Its address; valid until disposed.</summary>
    nint Value { get; }

    long Bytes { get; }
}

/// <summary>
/// What computing a model asks of a GPU: memory, copies, and launches of the model's kernels, all in the order of one stream. The seam between the logic of steps and the driver:
/// tests put an emulation of the kernels, or a recorder, in the driver's place. One caller at a time.
/// </summary>
internal unsafe interface IGpu : IDisposable
{
    /// <summary>Memory of unknown content.</summary>
    IGpuMemory Allocate(long bytes);

    /// <summary>Memory of the host that copies from and to the device use while the host goes on.</summary>
    IGpuMemory AllocatePinned(long bytes);

    /// <summary>A kernel of the model by its C++ name, allowed so much shared memory a block.</summary>
    nint Kernel(string name, int sharedBytes);

    /// <param name="arguments">A pointer to each argument; read during the call.</param>
    void Launch(nint kernel, Extent grid, Extent block, int sharedBytes, void** arguments);

    /// <summary><paramref name="from"/> is pinned and stays as it is until <see cref="Wait"/>.</summary>
    void Upload(void* from, IGpuMemory to, long offset, long bytes);

    /// <summary>There after <see cref="Wait"/>.</summary>
    void Download(IGpuMemory from, long offset, void* to, long bytes);

    void Copy(IGpuMemory from, long fromOffset, IGpuMemory to, long toOffset, long bytes);

    /// <summary>Until all that was given has been done.</summary>
    void Wait();

    /// <summary>Records the launches that <paramref name="work"/> makes, without running them. Kernels and addresses stay as they are; what is in memory may change between runs.</summary>
    IDisposable Capture(Action work);

    /// <summary>Runs what was recorded.</summary>
    void Replay(IDisposable graph);
}
