using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Caching;

/// <summary>Where the packed matrices of a model lie, aligned to 64 bytes: memory of this process, or a file that processes map together.</summary>
internal sealed unsafe class WeightMemory(byte* pointer, IDisposable owner, bool shared) : IDisposable
{
    /// <summary>Spare bytes behind the last matrix, so that a vector load at the last element stays inside.</summary>
    public const int SpareBytes = 64;

    public byte* Pointer { get; } = pointer;

    /// <summary>The same physical pages serve every process that has these weights.</summary>
    public bool Shared { get; } = shared;

    /// <summary>Zeros that only this process has.</summary>
    public static WeightMemory Private(long bytes)
    {
        var buffer = new NativeBuffer(bytes);
        return new WeightMemory(buffer.Pointer, buffer, shared: false);
    }

    public void Dispose() => owner.Dispose();
}

/// <summary>Takes packed weights piece by piece, in any order and from several threads at a time, each with a worker number of its own.</summary>
internal unsafe interface IWeightTarget
{
    /// <summary>Zeroed memory for a piece; the worker's until it begins another.</summary>
    byte* Begin(long offset, int bytes, int worker);

    /// <summary>The piece is complete.</summary>
    /// <exception cref="IOException">It cannot be kept.</exception>
    void End(long offset, int bytes, int worker);
}

/// <summary>Weights that are packed where they stay.</summary>
internal sealed unsafe class MemoryTarget(WeightMemory memory) : IWeightTarget
{
    public byte* Begin(long offset, int bytes, int worker) => memory.Pointer + offset;

    public void End(long offset, int bytes, int worker)
    {
        // It is where it belongs.
    }
}
