using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ScriptedServe.KvTransport.Memory;

/// <summary>
/// What is used of the Linux C library: anonymous files and their mappings, in the order of their lives. Every failure becomes an
/// <see cref="IOException"/> that names the call and the errno.
/// </summary>
internal static unsafe partial class LibC
{
    private const uint MfdCloseOnExec = 1;
    private const uint MfdAllowSealing = 2;
    private const int FAddSeals = 1033;
    private const int FGetSeals = 1034;
    private const int ReadWriteCloseOnExec = 2 | 0x80000;
    private const int SeekEnd = 2;
    private const int ProtReadWrite = 1 | 2;
    private const int MapShared = 1;
    private const int PidFdOpen = 434;
    private const short PollIn = 1;

    /// <summary>Neither shrinks nor grows, and these seals stay: whoever maps the file cannot be killed by its owner truncating it.</summary>
    public const int SealedSize = 1 | 2 | 4;

    /// <summary>A new file of <paramref name="bytes"/> zeros without a name in any file system; its size is sealed.</summary>
    public static SafeFileHandle CreateAnonymousFile(string label, long bytes)
    {
        var file = new SafeFileHandle(Check(memfd_create(label, MfdCloseOnExec | MfdAllowSealing), "memfd_create"), ownsHandle: true);
        try
        {
            Check(ftruncate(file, bytes), "ftruncate");
            Check(fcntl(file, FAddSeals, SealedSize), "fcntl(F_ADD_SEALS)");
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public static SafeFileHandle OpenReadWrite(string path) => new(Check(open(path, ReadWriteCloseOnExec), $"open({path})"), ownsHandle: true);

    public static int Seals(SafeFileHandle file) => Check(fcntl(file, FGetSeals, 0), "fcntl(F_GET_SEALS)");

    public static long Length(SafeFileHandle file) => lseek(file, 0, SeekEnd) is >= 0 and var length ? length : throw Failed("lseek");

    /// <summary>Maps the whole file for reading and writing, shared; memory is committed page by page as it is touched.</summary>
    public static byte* Map(SafeFileHandle file, long bytes)
    {
        var address = mmap(null, (nuint)bytes, ProtReadWrite, MapShared, file, 0);
        return address != (void*)-1 ? (byte*)address : throw Failed($"mmap of {bytes} bytes");
    }

    public static void Unmap(byte* address, long bytes) => Check(munmap(address, (nuint)bytes), "munmap");

    /// <summary>A descriptor of a process; it becomes readable when the process has ended.</summary>
    public static SafeFileHandle OpenProcess(int pid) => new((nint)Check((int)syscall(PidFdOpen, pid, 0), $"pidfd_open({pid})"), ownsHandle: true);

    public static bool IsReadable(SafeFileHandle file)
    {
        var held = false;
        file.DangerousAddRef(ref held);
        try
        {
            var polled = new PollDescriptor { File = (int)file.DangerousGetHandle(), Events = PollIn };
            return Check(poll(&polled, 1, 0), "poll") > 0;
        }
        finally
        {
            file.DangerousRelease();
        }
    }

    private static int Check(int result, string call) => result >= 0 ? result : throw Failed(call);

    private static IOException Failed(string call)
    {
        var error = Marshal.GetLastPInvokeError();
        return new IOException($"{call} failed: {Marshal.GetPInvokeErrorMessage(error)} (errno {error})");
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int memfd_create(string name, uint flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ftruncate(SafeFileHandle file, long length);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fcntl(SafeFileHandle file, int command, int argument);

    [LibraryImport("libc", SetLastError = true)]
    private static partial long lseek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", SetLastError = true)]
    private static partial void* mmap(void* address, nuint length, int protection, int flags, SafeFileHandle file, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, nint first, nint second);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(PollDescriptor* descriptors, nuint count, int timeoutMs);

    [StructLayout(LayoutKind.Sequential)]
    private struct PollDescriptor
    {
        public int File;
        public short Events;
        public short Returned;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int munmap(void* address, nuint length);
}
