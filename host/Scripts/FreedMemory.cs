using System.Runtime.InteropServices;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Gives memory back to the system that compiles and unloaded versions have freed. Each leaves native memory with the C library's allocator, which keeps
/// it for later: some 200 KiB a version, which looks like a leak from outside.
/// </summary>
internal static partial class FreedMemory
{
    private static bool s_canTrim = OperatingSystem.IsLinux();

    public static void GiveBack()
    {
        if (!s_canTrim)
        {
            return;
        }

        try
        {
            _ = Trim(0);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            // Another C library, with no such call.
            s_canTrim = false;
        }
    }

    // glibc, malloc_trim(3): pad is what to leave at the top of the heap, in bytes; 1 if anything was given back.
    [LibraryImport("libc.so.6", EntryPoint = "malloc_trim")]
    private static partial int Trim(nuint pad);
}
