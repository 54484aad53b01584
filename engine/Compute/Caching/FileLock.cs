using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ScriptedServe.Engine.Compute.Caching;

/// <summary>
/// A lock that one process of this machine holds at a time; the system lets go of it when the process ends, however it ends. Opened by hand:
/// the base library tries such locks once and then fails, and takes one of its own on every file it opens.
/// </summary>
internal sealed partial class FileLock : IDisposable
{
    private const int ReadWriteCreateCloseOnExec = 2 | 0x40 | 0x80000;
    private const int UserReadWrite = 0x180;
    private const int Exclusive = 2;
    private const int Interrupted = 4;

    private readonly SafeFileHandle _file;

    private FileLock(SafeFileHandle file) => _file = file;

    /// <summary>Waits for the lock, which is a file of this name, made if need be.</summary>
    /// <exception cref="IOException">The file cannot be opened, or its file system has no locks.</exception>
    public static FileLock Take(string path)
    {
        var file = new SafeFileHandle(open(path, ReadWriteCreateCloseOnExec, UserReadWrite), ownsHandle: true);
        if (file.IsInvalid)
        {
            throw Failed($"open({path})");
        }

        while (flock(file, Exclusive) != 0)
        {
            if (Marshal.GetLastPInvokeError() != Interrupted)
            {
                var error = Failed($"flock({path})");
                file.Dispose();
                throw error;
            }
        }

        return new FileLock(file);
    }

    public void Dispose() => _file.Dispose();

    private static IOException Failed(string call) => new($"{call} failed: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags, int mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int flock(SafeFileHandle file, int operation);
}
