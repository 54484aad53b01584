using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Threads that share a loop's items with the calling thread. A worker that comes late, because it was parked or its core is busy with
/// another process, delays nobody: items go to whoever asks, and the caller waits for items, not for workers. Idle workers spin for some
/// tens of microseconds, long enough to bridge the steps of a layer, and then sleep. One caller at a time.
/// </summary>
internal sealed class WorkerTeam : IDisposable
{
    /// <summary>Looks at the loop's state before sleeping, each some 40 ns apart.</summary>
    private const int SpinLooks = 1000;

    /// <summary>Claims that a thread makes in a loop of many items, roughly, before they become single ones.</summary>
    private const int ClaimsPerThread = 4;

    private readonly Thread[] _threads;
    private readonly IReadOnlyList<int> _processors;
    private readonly object _workGate = new();
    private readonly object _doneGate = new();

    private Shared _shared;
    private Action<int, int>? _body;
    private int _parkedWorkers;
    private int _callerParked;
    private int _stopping;
    private ExceptionDispatchInfo? _failure;
    private Thread? _pinnedCaller;
    private int _sleeps;

    /// <param name="threads">Threads that compute, the caller's included; at least 1.</param>
    /// <param name="processors">
    /// One for each thread, the caller's first: a thread runs on its processor alone. Empty for none: a team cannot know which processors other processes
    /// have pinned their threads to, and two threads on one processor wait for each other, whatever the others do.
    /// </param>
    /// <exception cref="ArgumentException">A processor that the process may not use.</exception>
    /// <exception cref="PlatformNotSupportedException">Processors are given elsewhere than on Linux.</exception>
    public WorkerTeam(int threads, IReadOnlyList<int>? processors = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _processors = processors ?? [];
        if (_processors.Count > 0)
        {
            CheckProcessors(threads, _processors);
        }

        _threads = new Thread[threads - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _threads[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"compute {worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Threads that compute, the caller's included: worker numbers are 0 (the caller) to this.</summary>
    public int Threads => _threads.Length + 1;

    /// <summary>Workers that sleep until there is a loop; all of them soon after the last one.</summary>
    public int SleepingWorkers => Volatile.Read(ref _parkedWorkers);

    /// <summary>Times that a worker went to sleep.</summary>
    public int Sleeps => Volatile.Read(ref _sleeps);

    /// <summary>Puts the calling thread on the first processor, where it stays; does nothing without processors. For a thread whose work is to call <see cref="For"/>.</summary>
    public void PinCaller()
    {
        if (_processors.Count > 0 && _pinnedCaller != Thread.CurrentThread)
        {
            ThreadAffinity.PinCallingThread(_processors[0]);
            _pinnedCaller = Thread.CurrentThread;
        }
    }

    /// <summary>
    /// Runs <paramref name="body"/>(item, worker) for items 0..<paramref name="items"/> in any order and returns when all have ended.
    /// Rethrows the first exception of a body; the other items run all the same. Allocates nothing.
    /// </summary>
    public void For(int items, Action<int, int> body)
    {
        ObjectDisposedException.ThrowIf(_stopping != 0, this);
        if (items <= 1 || _threads.Length == 0)
        {
            for (int item = 0; item < items; item++)
            {
                body(item, 0);
            }

            return;
        }

        _body = body;
        _shared.Unfinished = items;
        long loop = (_shared.Unclaimed >>> 32) + 1;
        Interlocked.Exchange(ref _shared.Unclaimed, (loop << 32) | (uint)items);
        if (Volatile.Read(ref _parkedWorkers) > 0)
        {
            lock (_workGate)
            {
                Monitor.PulseAll(_workGate);
            }
        }

        RunItems(0);
        WaitUntilFinished();
        _body = null;
        if (_failure is { } failure)
        {
            _failure = null;
            failure.Throw();
        }
    }

    /// <summary>Ends the threads. No loop may be running.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _stopping, 1) != 0)
        {
            return;
        }

        lock (_workGate)
        {
            Monitor.PulseAll(_workGate);
        }

        foreach (var thread in _threads)
        {
            thread.Join();
        }
    }

    private bool HasWork => (uint)Volatile.Read(ref _shared.Unclaimed) != 0 || Volatile.Read(ref _stopping) != 0;

    private static void CheckProcessors(int threads, IReadOnlyList<int> processors)
    {
        if (processors.Count != threads)
        {
            throw new ArgumentException($"{processors.Count} processors for {threads} threads", nameof(processors));
        }

        var usable = ThreadAffinity.OfProcess();
        if (processors.FirstOrDefault(processor => !usable.Contains(processor), -1) is var missing and >= 0)
        {
            throw new ArgumentException($"processor {missing} is none of those that this process may use: {string.Join(',', usable)} (--cpus)", nameof(processors));
        }
    }

    private void Work(int worker)
    {
        if (_processors.Count > 0)
        {
            ThreadAffinity.PinCallingThread(_processors[worker]);
        }

        while (Volatile.Read(ref _stopping) == 0)
        {
            RunItems(worker);
            WaitForWork();
        }
    }

    /// <summary>
    /// Claims items until none are left: several at a time while there are many, since every claim takes the line from the other threads' caches, and
    /// single ones at the end, so that nobody waits long for the last.
    /// </summary>
    private void RunItems(int worker)
    {
        int ended = 0;
        while (true)
        {
            long seen = Volatile.Read(ref _shared.Unclaimed);
            int left = (int)(uint)seen;
            if (left == 0)
            {
                break;
            }

            int claimed = Math.Max(1, left / (ClaimsPerThread * Threads));
            if (Interlocked.CompareExchange(ref _shared.Unclaimed, seen - claimed, seen) == seen)
            {
                RunClaimed(left - claimed, claimed, worker);
                ended += claimed;
            }
        }

        // What was claimed and is not told to have ended holds the loop open: its body stays in place, and no other loop begins.
        if (ended > 0 && Interlocked.Add(ref _shared.Unfinished, -ended) == 0 && Volatile.Read(ref _callerParked) != 0)
        {
            lock (_doneGate)
            {
                Monitor.PulseAll(_doneGate);
            }
        }
    }

    private void RunClaimed(int first, int count, int worker)
    {
        var body = _body!;
        for (int item = first; item < first + count; item++)
        {
            try
            {
                body(item, worker);
            }
#pragma warning disable CA1031 // Whatever it is, it belongs to the caller of For.
            catch (Exception error)
#pragma warning restore CA1031
            {
                Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(error), null);
            }
        }
    }

    private void WaitForWork()
    {
        for (int look = 0; look < SpinLooks; look++)
        {
            if (HasWork)
            {
                return;
            }

            Thread.SpinWait(1);
        }

        lock (_workGate)
        {
            // Announced before the last look, and For publishes before it looks for parked workers: one of the two sees the other.
            Interlocked.Increment(ref _parkedWorkers);
            Interlocked.Increment(ref _sleeps);
            while (!HasWork)
            {
                Monitor.Wait(_workGate);
            }

            Interlocked.Decrement(ref _parkedWorkers);
        }
    }

    private void WaitUntilFinished()
    {
        for (int look = 0; look < SpinLooks; look++)
        {
            if (Volatile.Read(ref _shared.Unfinished) == 0)
            {
                return;
            }

            Thread.SpinWait(1);
        }

        lock (_doneGate)
        {
            Interlocked.Exchange(ref _callerParked, 1);
            while (Volatile.Read(ref _shared.Unfinished) != 0)
            {
                Monitor.Wait(_doneGate);
            }

            Interlocked.Exchange(ref _callerParked, 0);
        }
    }

    /// <summary>What threads spin on, each on a cache line (and its neighbour, which is fetched with it) of its own.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 384)]
    private struct Shared
    {
        /// <summary>
        /// Loop number in the upper half, items not yet claimed in the lower. Items are claimed by lowering the whole word if it has not changed, so
        /// a claim can only succeed on the loop it was meant for.
        /// </summary>
        [FieldOffset(128)]
        public long Unclaimed;

        [FieldOffset(256)]
        public int Unfinished;
    }
}
