using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>Pages of 2 MiB (Linux: madvise(2)): weights are read from end to end, and looking up a small page every 4 KiB takes a twentieth of that time.</summary>
internal static unsafe partial class HugePages
{
    public const uint Bytes = 2 << 20;

    private const int AdviceHugePage = 14;

    /// <summary>Asks for them in memory not yet touched; a system that has none, or none free, goes on with small ones.</summary>
    /// <param name="memory">Aligned to <see cref="Bytes"/>.</param>
    public static void Ask(void* memory, nuint bytes)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = madvise(memory, bytes, AdviceHugePage);
        }
    }

    [LibraryImport("libc")]
    private static partial int madvise(void* memory, nuint bytes, int advice);
}
