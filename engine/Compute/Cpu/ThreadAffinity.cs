using System.Runtime.InteropServices;
using ScriptedServe.Contracts;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>Which processors a thread may run on (Linux: sched_setaffinity(2)). Processors have the numbers of /proc/cpuinfo.</summary>
internal static unsafe partial class ThreadAffinity
{
    /// <summary>Of a set of processors as the C library has it.</summary>
    private const int SetBytes = ProcessorList.MaxProcessors / 8;

    /// <summary>The processors that the calling thread may run on, ascending.</summary>
    /// <exception cref="PlatformNotSupportedException">Not on Linux.</exception>
    public static IReadOnlyList<int> OfCallingThread() => Read(0);

    /// <summary>The processors that the process was given when it started, ascending: those of its first thread.</summary>
    /// <exception cref="PlatformNotSupportedException">Not on Linux.</exception>
    public static IReadOnlyList<int> OfProcess() => Read(Environment.ProcessId);

    /// <summary>From now on the calling thread runs on one processor alone. Threads that it starts do not.</summary>
    /// <exception cref="PlatformNotSupportedException">Not on Linux.</exception>
    /// <exception cref="ArgumentException">The process may not use the processor, or there is none of this number.</exception>
    public static void PinCallingThread(int processor)
    {
        CheckPlatform();
        byte* set = stackalloc byte[SetBytes];
        new Span<byte>(set, SetBytes).Clear();
        set[processor / 8] = (byte)(1 << (processor % 8));
        if (sched_setaffinity(0, SetBytes, set) != 0)
        {
            throw new ArgumentException($"processor {processor} cannot be used by this process: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    private static List<int> Read(int thread)
    {
        CheckPlatform();
        byte* set = stackalloc byte[SetBytes];
        new Span<byte>(set, SetBytes).Clear();
        if (sched_getaffinity(thread, SetBytes, set) < 0)
        {
            throw new InvalidOperationException($"sched_getaffinity failed: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        var processors = new List<int>();
        for (int processor = 0; processor < ProcessorList.MaxProcessors; processor++)
        {
            if ((set[processor / 8] & (1 << (processor % 8))) != 0)
            {
                processors.Add(processor);
            }
        }

        return processors;
    }

    private static void CheckPlatform()
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new PlatformNotSupportedException("threads are pinned to processors on Linux only");
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int sched_getaffinity(int thread, nuint bytes, byte* set);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int sched_setaffinity(int thread, nuint bytes, byte* set);
}
