using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Threads that share a loop's items with the calling thread. Each begins with a share of its own, neighbouring items in ascending order, and takes half of what another
/// has left when it is through. So a worker that comes late, because it was parked or its core is busy with another process, delays nobody: the caller waits for items,
/// not for workers. Idle workers spin for some tens of microseconds, long enough to bridge the steps of a layer, and then sleep. One caller at a time.
/// </summary>
internal sealed class WorkerTeam : IDisposable
{
    /// <summary>Looks at the loop's state before sleeping, each some 40 ns apart.</summary>
    private const int SpinLooks = 1000;

    /// <summary>Runs that a thread's share of a loop of single items is cut into.</summary>
    private const int RunsPerShare = 8;

    /// <summary>Most items of a loop, and the bits that their numbers take.</summary>
    private const int MaxItems = (1 << ItemBits) - 1, ItemBits = 24;

    private readonly Thread[] _threads;
    private readonly IReadOnlyList<int> _processors;
    private readonly object _workGate = new();
    private readonly object _doneGate = new();

    /// <summary>[threads]: what each has left.</summary>
    private readonly Share[] _shares;

    // The loop under way: one of the two bodies, and the items of a run.
    private Action<int, int>? _body;
    private Action<int, int, int>? _runBody;
    private int _runItems;
    private ushort _loop;
    private Counter _unfinished;
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

        _shares = new Share[threads];
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
    /// <exception cref="ArgumentOutOfRangeException">More than 2^24 - 1 items.</exception>
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
        _runItems = Math.Max(1, items / (RunsPerShare * Threads));
        RunLoop(items);
    }

    /// <summary>
    /// As <see cref="For"/>, with neighbouring items at a time: <paramref name="body"/>(first, count, worker). A thread without others gets all items in one run.
    /// </summary>
    /// <param name="runItems">Items of a run, at least 1; runs become shorter where little is left.</param>
    public void ForRuns(int items, int runItems, Action<int, int, int> body)
    {
        ObjectDisposedException.ThrowIf(_stopping != 0, this);
        if (items <= 1 || _threads.Length == 0)
        {
            if (items > 0)
            {
                body(0, items, 0);
            }

            return;
        }

        _runBody = body;
        _runItems = runItems;
        RunLoop(items);
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

    private void RunLoop(int items)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(items, MaxItems);
        Volatile.Write(ref _unfinished.Value, items);
        _loop++;
        for (int thread = Threads - 1; thread >= 0; thread--)
        {
            int first = (int)((long)items * thread / Threads);
            int end = (int)((long)items * (thread + 1) / Threads);
            Volatile.Write(ref _shares[thread].Left, new Run(_loop, first, end).Packed);
        }

        Interlocked.MemoryBarrier();
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
        _runBody = null;
        if (_failure is { } failure)
        {
            _failure = null;
            failure.Throw();
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
            WaitForWork(worker);
        }
    }

    /// <summary>Runs what is in the thread's share, and then what it takes from others', until all are empty.</summary>
    private void RunItems(int worker)
    {
        int ended = 0;
        do
        {
            while (TryClaim(worker, out int first, out int count))
            {
                RunClaimed(first, count, worker);
                ended += count;
            }
        }
        while (TryTakeOver(worker));

        // What was claimed and is not told to have ended holds the loop open: its body stays in place, and no other loop begins.
        if (ended > 0 && Interlocked.Add(ref _unfinished.Value, -ended) == 0 && Volatile.Read(ref _callerParked) != 0)
        {
            lock (_doneGate)
            {
                Monitor.PulseAll(_doneGate);
            }
        }
    }

    /// <summary>Takes the first run of the thread's share.</summary>
    private bool TryClaim(int worker, out int first, out int count)
    {
        ref long share = ref _shares[worker].Left;
        while (true)
        {
            long seen = Volatile.Read(ref share);
            var left = Run.Of(seen);
            first = left.First;

            // Half of the last items, so that others find something to take over while this thread is at the rest.
            count = left.Count >= 2 * _runItems ? _runItems : (left.Count + 1) / 2;
            if (count == 0 || Interlocked.CompareExchange(ref share, (left with { First = first + count }).Packed, seen) == seen)
            {
                return count > 0;
            }
        }
    }

    /// <summary>Makes the second half of what another thread has left the share of this one, which is empty.</summary>
    private bool TryTakeOver(int worker)
    {
        ref long own = ref _shares[worker].Left;
        var mine = Run.Of(Volatile.Read(ref own));
        if (mine.Count > 0)
        {
            // The next loop has begun since the share was found empty: it must not be overwritten.
            return true;
        }

        for (int other = worker + 1; other < worker + Threads; other++)
        {
            ref long share = ref _shares[other % Threads].Left;
            long seen = Volatile.Read(ref share);
            var left = Run.Of(seen);
            int middle = left.First + left.Count / 2;

            // A loop that this thread has not got its share of yet would overwrite what it took.
            if (left.Count > 0 && left.Loop == mine.Loop && Interlocked.CompareExchange(ref share, (left with { End = middle }).Packed, seen) == seen)
            {
                Volatile.Write(ref own, (left with { First = middle }).Packed);
                return true;
            }
        }

        return false;
    }

    private void RunClaimed(int first, int count, int worker)
    {
        if (_runBody is { } runBody)
        {
            try
            {
                runBody(first, count, worker);
            }
#pragma warning disable CA1031 // Whatever it is, it belongs to the caller of ForRuns.
            catch (Exception error)
#pragma warning restore CA1031
            {
                Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(error), null);
            }

            return;
        }

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

    private void WaitForWork(int worker)
    {
        for (int look = 0; look < SpinLooks; look++)
        {
            // Its own share alone: reading what others claim from would slow them down.
            if (HasItems(worker) || Volatile.Read(ref _stopping) != 0)
            {
                return;
            }

            Thread.SpinWait(1);
        }

        lock (_workGate)
        {
            // Announced before the last look, and a loop's items are there before it looks for parked workers: one of the two sees the other.
            Interlocked.Increment(ref _parkedWorkers);
            Interlocked.Increment(ref _sleeps);
            while (!AnyHasItems() && Volatile.Read(ref _stopping) == 0)
            {
                Monitor.Wait(_workGate);
            }

            Interlocked.Decrement(ref _parkedWorkers);
        }
    }

    private bool AnyHasItems()
    {
        int thread = 0;
        while (thread < Threads && !HasItems(thread))
        {
            thread++;
        }

        return thread < Threads;
    }

    private bool HasItems(int thread) => Run.Of(Volatile.Read(ref _shares[thread].Left)).Count > 0;

    private void WaitUntilFinished()
    {
        for (int look = 0; look < SpinLooks; look++)
        {
            if (Volatile.Read(ref _unfinished.Value) == 0)
            {
                return;
            }

            Thread.SpinWait(1);
        }

        lock (_doneGate)
        {
            Interlocked.Exchange(ref _callerParked, 1);
            while (Volatile.Read(ref _unfinished.Value) != 0)
            {
                Monitor.Wait(_doneGate);
            }

            Interlocked.Exchange(ref _callerParked, 0);
        }
    }

    /// <summary>Items [first, end) of a loop. What is claimed does not come back, so a share that has not changed still holds the items that were seen in it.</summary>
    private readonly record struct Run(int Loop, int First, int End)
    {
        public int Count => End - First;

        public long Packed => ((long)Loop << (2 * ItemBits)) | ((long)First << ItemBits) | (uint)End;

        public static Run Of(long packed) => new((int)((ulong)packed >> (2 * ItemBits)), (int)(packed >> ItemBits) & MaxItems, (int)packed & MaxItems);
    }

    /// <summary>The <see cref="Run"/> that a thread has left, on a cache line (and its neighbour, which is fetched with it) of its own.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct Share
    {
        [FieldOffset(128)]
        public long Left;
    }

    /// <summary>Items of the loop that have not ended, on cache lines of their own.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct Counter
    {
        [FieldOffset(128)]
        public int Value;
    }
}
