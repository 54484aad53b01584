using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cpu.Ranks;

/// <summary>
/// The threads that drive the ranks of a tensor-parallel model, the caller's for the first: unlike the items of a <see cref="WorkerTeam"/>, ranks run all at
/// the same time, since they wait for each other, and each always on the same thread. Between runs the threads sleep. One caller at a time.
/// </summary>
internal sealed class RankThreads : IDisposable
{
    /// <summary>Looks for a run before sleeping, each some 40 ns apart.</summary>
    private const int SpinLooks = 1000;

    private readonly WaitPoint _meeting = new();
    private readonly Thread[] _threads;
    private readonly object _gate = new();
    private Action<int>? _body;
    private Shared _shared;
    private ExceptionDispatchInfo? _failure;
    private int _failed;
    private int _stopping;

    /// <param name="ranks">At least 1.</param>
    public RankThreads(int ranks)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(ranks, 1);
        _threads = new Thread[ranks - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int rank = i + 1;
            _threads[i] = new Thread(() => Work(rank)) { IsBackground = true, Name = $"rank {rank}" };
            _threads[i].Start();
        }
    }

    public int Ranks => _threads.Length + 1;

    /// <summary>Wakes those who wait elsewhere with <see cref="Await"/>, when a rank has failed. Must not throw.</summary>
    public Action? OnFailure { get; set; }

    /// <summary>
    /// Runs <paramref name="body"/>(rank) for all ranks at the same time and returns when all have ended. Rethrows the first exception; ranks that wait for
    /// the one that failed end by it, too. Allocates nothing.
    /// </summary>
    public void Run(Action<int> body)
    {
        ObjectDisposedException.ThrowIf(_stopping != 0, this);
        _failure = null;
        _failed = 0;
        _body = body;
        _shared.Arrived = 0;
        _shared.Ended = 0;
        lock (_gate)
        {
            Volatile.Write(ref _shared.Runs, _shared.Runs + 1);
            Monitor.PulseAll(_gate);
        }

        RunRank(0);
        int never = 0;
        _ = _meeting.Await(ref _shared.Ended, Ranks, ref never);
        _body = null;
        _failure?.Throw();
    }

    /// <summary>Returns when all ranks have called it as often as this one. Only within a run.</summary>
    /// <exception cref="OperationCanceledException">Another rank failed, so that it will not come.</exception>
    public void Meet()
    {
        long place = Interlocked.Increment(ref _shared.Arrived) - 1;
        long all = (place / Ranks + 1) * Ranks;
        if (place == all - 1)
        {
            _meeting.Raised();
        }
        else
        {
            Await(_meeting, ref _shared.Arrived, all);
        }
    }

    /// <summary>Returns when a number, which another rank raises, is this large. Only within a run.</summary>
    /// <exception cref="OperationCanceledException">A rank failed, so that it may never be.</exception>
    public void Await(WaitPoint where, ref long number, long least)
    {
        if (!where.Await(ref number, least, ref _failed))
        {
            throw new OperationCanceledException("another rank failed");
        }
    }

    /// <summary>Ends the threads. Nothing may be running.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _stopping = 1;
            Monitor.PulseAll(_gate);
        }

        foreach (var thread in _threads)
        {
            thread.Join();
        }
    }

    private void Work(int rank)
    {
        for (long run = 1; WaitForRun(run); run++)
        {
            RunRank(rank);
        }
    }

    /// <returns>False if there will be none.</returns>
    private bool WaitForRun(long run)
    {
        for (int look = 0; look < SpinLooks && Volatile.Read(ref _shared.Runs) < run; look++)
        {
            Thread.SpinWait(1);
        }

        lock (_gate)
        {
            while (_shared.Runs < run && _stopping == 0)
            {
                Monitor.Wait(_gate);
            }

            return _shared.Runs >= run;
        }
    }

    private void RunRank(int rank)
    {
        try
        {
            _body!(rank);
        }
#pragma warning disable CA1031 // Whatever it is, it belongs to the caller of Run.
        catch (Exception error)
#pragma warning restore CA1031
        {
            Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(error), null);
            Volatile.Write(ref _failed, 1);
            _meeting.Raised();
            OnFailure?.Invoke();
        }

        if (Interlocked.Increment(ref _shared.Ended) == Ranks)
        {
            _meeting.Raised();
        }
    }

    /// <summary>What threads spin on, each on a cache line (and its neighbour, which is fetched with it) of its own.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 512)]
    private struct Shared
    {
        [FieldOffset(128)]
        public long Runs;

        [FieldOffset(256)]
        public long Arrived;

        [FieldOffset(384)]
        public long Ended;
    }
}
