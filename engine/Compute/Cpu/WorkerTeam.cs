using System.Runtime.ExceptionServices;

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

    private readonly Thread[] _threads;
    private readonly object _workGate = new();
    private readonly object _doneGate = new();

    /// <summary>
    /// Loop number in the upper half, items not yet claimed in the lower. An item is claimed by decrementing the whole word if it has
    /// not changed, so a claim can only succeed on the loop it was meant for.
    /// </summary>
    private long _unclaimed;

    private int _unfinished;
    private Action<int, int>? _body;
    private int _parkedWorkers;
    private int _callerParked;
    private int _stopping;
    private ExceptionDispatchInfo? _failure;

    /// <param name="threads">Threads that compute, the caller's included; at least 1.</param>
    public WorkerTeam(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
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
        _unfinished = items;
        long loop = (_unclaimed >>> 32) + 1;
        Interlocked.Exchange(ref _unclaimed, (loop << 32) | (uint)items);
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

    private bool HasWork => (uint)Volatile.Read(ref _unclaimed) != 0 || Volatile.Read(ref _stopping) != 0;

    private void Work(int worker)
    {
        while (Volatile.Read(ref _stopping) == 0)
        {
            RunItems(worker);
            WaitForWork();
        }
    }

    private void RunItems(int worker)
    {
        while (true)
        {
            long seen = Volatile.Read(ref _unclaimed);
            uint left = (uint)seen;
            if (left == 0)
            {
                return;
            }

            if (Interlocked.CompareExchange(ref _unclaimed, seen - 1, seen) != seen)
            {
                continue;
            }

            // The claim holds the loop open, so its body stays in place until the item is finished.
            try
            {
                _body!((int)left - 1, worker);
            }
#pragma warning disable CA1031 // Whatever it is, it belongs to the caller of For.
            catch (Exception error)
#pragma warning restore CA1031
            {
                Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(error), null);
            }

            if (Interlocked.Decrement(ref _unfinished) == 0 && Volatile.Read(ref _callerParked) != 0)
            {
                lock (_doneGate)
                {
                    Monitor.PulseAll(_doneGate);
                }
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
            if (Volatile.Read(ref _unfinished) == 0)
            {
                return;
            }

            Thread.SpinWait(1);
        }

        lock (_doneGate)
        {
            Interlocked.Exchange(ref _callerParked, 1);
            while (Volatile.Read(ref _unfinished) != 0)
            {
                Monitor.Wait(_doneGate);
            }

            Interlocked.Exchange(ref _callerParked, 0);
        }
    }
}
