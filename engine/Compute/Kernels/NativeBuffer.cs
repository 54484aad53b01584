using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// Zeroed native memory aligned to 64 bytes, with 64 spare bytes so that a vector load at the last element stays inside; on huge pages where it is large.
/// </summary>
internal sealed unsafe class NativeBuffer : IDisposable
{
    private const int Alignment = 64;

    /// <summary>Of memory of fewer, too much would stay unused.</summary>
    private const long LeastHugePages = 8;

    public NativeBuffer(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Bytes = bytes;
        nuint size = checked((nuint)bytes + Alignment);
        bool huge = bytes >= LeastHugePages * HugePages.Bytes;
        Pointer = (byte*)NativeMemory.AlignedAlloc(size, huge ? HugePages.Bytes : Alignment);
        if (huge)
        {
            HugePages.Ask(Pointer, size);
        }

        NativeMemory.Clear(Pointer, size);
    }

    ~NativeBuffer() => Free();

    public long Bytes { get; }

    /// <summary>The first byte; null once disposed.</summary>
    public byte* Pointer { get; private set; }

    public float* Floats => (float*)Pointer;

    public static NativeBuffer OfFloats(long count) => new(checked(count * sizeof(float)));

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(Pointer);
        Pointer = null;
    }
}
