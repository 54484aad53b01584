using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Kv;
using ScriptedServe.Engine.Reservations;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// The engine's state and its one step. Whoever calls <see cref="Step"/>, one at a time, is the core's thread; all else reaches the core through
/// <see cref="Commands"/>.
/// <para>A step: (1) run the commands posted, so that a cancelled call has given its pages back before anything is computed; (2) refuse what has waited
/// too long; (3) plan and compute; (4) publish the books; (5) answer the calls that ended, so that who asks after an answer sees its effect.</para>
/// <para>Where the runner computes beside its caller, (3) launches what was planned and then awaits what was launched the step before, so that the runner always has work. Pages that are let
/// go may then still be read or written by a step under way. What it is that gets them next comes after: another step, since steps take place in order; or a peer of a reservation, since (5), which
/// tells it of the pages, comes after all that was under way when they were given.</para>
/// </summary>
public sealed class EngineCore : IPrefixCacheListener, IStepOutcomes, IDisposable
{
    private readonly IModelRunner _runner;
    private readonly KvPool _pool;
    private readonly EngineLimits _limits;
    private readonly PrefixCache _cache;
    private readonly ReservationTable _reservations;
    private readonly WaitingQueue _waiting;
    private readonly RunningSet _running;
    private readonly Scheduler _scheduler;
    private readonly StepComputation _computation;
    private readonly bool _overlaps;
    private readonly SequenceTable _sequences;
    private readonly ReplyQueue _replies = new();
    private readonly LoadReport _load;
    private readonly List<TaskCompletionSource> _idleWaiters = [];
    private readonly ITimer _waitTimer;
    private readonly Action<IWaiting, RpcException> _refuse;
    private RpcException? _closedBecause;

    public EngineCore(IModelRunner runner, KvPool pool, IKvReceiver receiver, EngineLimits limits, EngineIdentity identity, TimeProvider time)
    {
        (_runner, _pool, _limits, _refuse) = (runner, pool, limits, Refuse);
        _cache = new PrefixCache(new PageAllocator(pool.Pages), pool.Layout.PageTokens, this);
        _waiting = new WaitingQueue(time, limits);
        _running = new RunningSet(limits.MaxSequences);
        _reservations = new ReservationTable(_cache, receiver, pool.CopyPage, $"{identity.EngineId}-{identity.Epoch:x16}", runner.Model.ShortContext, limits.MaxLease, Commands.Post, _replies, time);
        _sequences = new SequenceTable(_waiting, _running, pool.Layout.Layers, Commands.Post, _replies);
        _scheduler = new Scheduler(
            _waiting, _running, limits, pool.CopyPage, item => _reservations.TryAdmit((Reservation)item), (item, e) => End(item, KvErrors.ToRpc(e, "Admission")), runner.Model.ShortContext, time);
        _overlaps = limits.OverlapSteps && runner is ISamplingRunner;
        _computation = new StepComputation(runner, pool, _scheduler, this, time);
        _load = new LoadReport(_cache.Pages, _waiting, _sequences, _reservations, _scheduler, _computation.Statistics);
        _waitTimer = time.CreateTimer(_ => Commands.Wake(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        ContextTokens = (int)Math.Min(runner.Model.ContextLength, (long)pool.Pages * pool.Layout.PageTokens);
        Status = new StatusBoard(identity.Describe(runner.Model, ContextTokens, pool.Layout), _cache);
        Publish();
    }

    public CommandQueue Commands { get; } = new();

    public StatusBoard Status { get; }

    public ModelDescription Model => _runner.Model;

    public EngineLimits Limits => _limits;

    /// <summary>Tokens a sequence may have: the model's context, or what the pool holds if that is less.</summary>
    public int ContextTokens { get; }

    /// <summary>Tokens the pool has room for.</summary>
    public long PoolTokens => (long)_pool.Pages * _pool.Layout.PageTokens;

    /// <summary>Nothing runs, waits or is held.</summary>
    public bool IsIdle => _sequences.Live.Count == 0 && _waiting.Count == 0 && _reservations.Count == 0 && _computation.UnderWay == 0;

    /// <summary>An empty block table for a new sequence. May be called from any thread.</summary>
    /// <param name="tokens">Tokens of the whole sequence.</param>
    public BlockTable NewBlocks(int tokens) => new(_cache, tokens > Model.ShortContext);

    /// <returns>True if there may be more to do at once; false if there is nothing to do until a command is posted or a timer fires.</returns>
    public bool Step()
    {
        _ = Commands.Drain();
        var nextExpiry = _waiting.Expire(_refuse);
        var preemptions = _scheduler.Preemptions;
        var computes = PlanAndCompute();

        // A plan that computes nothing may still have put a sequence back in the queue, whose wait is to be bounded, or made room for another.
        var again = _sequences.FinishComputedSends() | computes | _scheduler.Preemptions != preemptions;
        if (!again)
        {
            _ = _waitTimer.Change(Earlier(nextExpiry, _scheduler.PlanAgainIn), Timeout.InfiniteTimeSpan);
        }

        Publish();
        Answer();
        return again;
    }

    /// <summary>Queues a generation. It ends by itself or by <see cref="Cancel(Sequence)"/>; its output is completed in any case.</summary>
    /// <param name="reservationId">Null without one.</param>
    /// <param name="begin">With a reservation: tokens whose KV must be here; null for all it covers.</param>
    internal void Submit(GenerateSequence sequence, string? reservationId, int? begin)
    {
        try
        {
            EnsureOpen(reservationId is not null);
            _waiting.EnsureRoom();
            if (reservationId is null)
            {
                _sequences.Accept(sequence);
                _sequences.Enqueue(sequence);
                return;
            }

            var reservation = _reservations.Find(reservationId, sequence.Tokens.Span, begin);
            _sequences.Accept(sequence);
            _sequences.Enqueue(sequence, SequenceState.Taking);
            sequence.Received = reservation.CoveredTokens;
            _reservations.End(reservation, blocks => _sequences.Inherit(sequence, blocks));
        }
        catch (Exception e)
        {
            // It may have been accepted, and even be ending by now.
            _sequences.End(sequence, KvErrors.ToRpc(e, "StartGenerate"), null);
        }
    }

    /// <summary>Queues a send. Its <see cref="SendSequence.Sent"/> is completed in any case, and its session disposed.</summary>
    internal void Submit(SendSequence sequence)
    {
        _sequences.Accept(sequence);
        try
        {
            EnsureOpen(forReservation: false);
            _waiting.EnsureRoom();
            _sequences.Enqueue(sequence);
        }
        catch (Exception e)
        {
            _sequences.End(sequence, e);
        }
    }

    /// <summary>Queues a reservation for pages. Its <see cref="Reservation.Prepared"/> is completed in any case.</summary>
    internal Reservation Prepare(string requestId, ReadOnlyMemory<int> tokens, int end, TimeSpan lease)
    {
        var reservation = _reservations.Create(requestId, tokens, end, lease);
        try
        {
            EnsureOpen(forReservation: false);
            _waiting.EnsureRoom();
            _waiting.Enqueue(reservation);
        }
        catch (Exception e)
        {
            _ = _waiting.Remove(reservation);
            _reservations.Refuse(reservation, KvErrors.ToRpc(e, "PrepRecv"));
        }

        return reservation;
    }

    /// <summary>Ends a reservation.</summary>
    /// <returns>Completes when its pages are back.</returns>
    /// <exception cref="RpcException">NOT_FOUND.</exception>
    internal Task Release(string reservationId)
    {
        var reservation = _reservations.Find(reservationId);
        _reservations.End(reservation);
        return reservation.Closed.Task;
    }

    /// <summary>Ends a reservation whose caller is gone.</summary>
    internal void Cancel(Reservation reservation) => End(reservation, new RpcException(RpcStatus.Cancelled, "The call was cancelled"));

    /// <summary>Ends a sequence whose caller is gone, or does nothing if it has ended.</summary>
    internal void Cancel(Sequence sequence) => End(sequence, new RpcException(RpcStatus.Cancelled, "The call was cancelled"));

    /// <summary>Ends all that has this request id.</summary>
    /// <returns>Completes when nothing of it is held.</returns>
    internal Task Abort(string requestId) => EndAll(
        id => id == requestId, new RpcException(RpcStatus.Cancelled, $"Request '{requestId}' was aborted"), sequence =>
            sequence is GenerateSequence generate ? generate.LastChunk(FinishReason.Abort) : null);

    /// <summary>Admits nothing new from now on, except generations that use a reservation made before.</summary>
    /// <returns>Completes when idle.</returns>
    internal Task Drain()
    {
        _closedBecause ??= new RpcException(RpcStatus.Unavailable, "The engine is draining and takes no new work");
        var idle = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _idleWaiters.Add(idle);
        return idle.Task;
    }

    /// <summary>Ends everything, the watches too.</summary>
    /// <returns>Completes when nothing is held.</returns>
    internal Task Shutdown()
    {
        var drained = Drain();
        _ = EndAll(_ => true, new RpcException(RpcStatus.Unavailable, "The engine is shutting down"), _ => null);
        Status.EndWatches();
        return drained;
    }

    /// <summary>
    /// Ends everything, because a step failed in a way that is no request's alone. For the core's thread, between steps; the next step answers.
    /// </summary>
    internal void Fail(Exception cause)
    {
        _closedBecause = new RpcException(RpcStatus.Unavailable, "The engine failed and takes no new work");
        _ = EndAll(_ => true, new RpcException(RpcStatus.Internal, $"The engine failed: {cause.GetType().Name}: {cause.Message}", inner: cause), _ => null);
    }

    /// <summary>Checks the books: every page is accounted for, and nothing is held when nothing lives.</summary>
    /// <exception cref="InvalidOperationException">They do not balance.</exception>
    public void CheckIntegrity()
    {
        _cache.CheckIntegrity();
        if (IsIdle && _cache.Pages.Held != _reservations.LostPages)
        {
            throw new InvalidOperationException($"{_cache.Pages.Held} pages are held while the engine is idle, and {_reservations.LostPages} are lost");
        }
    }

    void IStepOutcomes.Failed(Sequence sequence, RpcException error) => End(sequence, error);

    void IStepOutcomes.Finished(GenerateSequence sequence, GenerateChunk last) => _sequences.End(sequence, null, last);

    void IPrefixCacheListener.Stored(ulong hash) => Status.OnCacheChange(hash, stored: true);

    void IPrefixCacheListener.Removed(ulong hash) => Status.OnCacheChange(hash, stored: false);

    /// <summary>Ends the timers and watches; the runner, pool and receiver belong to the caller.</summary>
    public void Dispose()
    {
        _waitTimer.Dispose();
        Status.Dispose();
    }

    /// <returns>True if anything was launched, or its outcome taken over.</returns>
    private bool PlanAndCompute()
    {
        // More than one if a step has thrown.
        var older = _computation.UnderWay;
        var any = older > 0;
        for (; older > 1; older--)
        {
            _computation.Collect();
        }

        var computes = _scheduler.Plan();
        if (_scheduler.NeedsOutcome)
        {
            _computation.Collect();
            older = 0;
            computes = _scheduler.Plan();
        }

        if (computes)
        {
            _computation.Launch();
        }

        while (_computation.UnderWay > 0 && (older-- > 0 || !_overlaps))
        {
            _computation.Collect();
        }

        return any | computes;
    }

    private void EnsureOpen(bool forReservation)
    {
        if (_closedBecause is not null && !forReservation)
        {
            throw new RpcException(_closedBecause.Status, _closedBecause.Message);
        }
    }

    private static TimeSpan Earlier(TimeSpan? one, TimeSpan? other) => (one < other ? one : other ?? one) ?? Timeout.InfiniteTimeSpan;

    private void Refuse(IWaiting item, RpcException error) => End(item, item switch
    {
        GenerateSequence { HasEmitted: true } preempted =>
            new RpcException(RpcStatus.Aborted, $"Preempted after {preempted.Generated} tokens and not admitted again. {error.Message}", error.RetryAfter),
        Sequence { State: SequenceState.Taking } => new RpcException(
            RpcStatus.Unavailable,
            $"A sender is still within a write to the reservation's pages after --max-wait ({_limits.MaxWait.TotalSeconds:0.###} s): it may be stuck. They come back when it leaves or dies"),
        _ => error,
    });

    private Task EndAll(Func<string, bool> which, RpcException error, Func<Sequence, GenerateChunk?> lastChunk)
    {
        var closed = new List<Task>();
        foreach (var sequence in _sequences.Live.Where(sequence => which(sequence.RequestId)).ToList())
        {
            closed.Add(sequence.Closed.Task);
            if (lastChunk(sequence) is { } last)
            {
                _sequences.End((GenerateSequence)sequence, null, last);
            }
            else
            {
                End(sequence, error);
            }
        }

        foreach (var reservation in _waiting.Items.OfType<Reservation>().Concat(_reservations.All).Where(item => which(item.RequestId)).ToList())
        {
            closed.Add(reservation.Closed.Task);
            End(reservation, error);
        }

        return Task.WhenAll(closed);
    }

    private void End(IWaiting item, RpcException error)
    {
        switch (item)
        {
            case Reservation reservation:
                if (reservation.State == ReservationState.Waiting)
                {
                    _ = _waiting.Remove(reservation);
                    _reservations.Refuse(reservation, error);
                }
                else
                {
                    _reservations.End(reservation);
                }

                break;
            case GenerateSequence generate:
                _sequences.End(generate, error, null);
                break;
            case SendSequence send:
                _sequences.End(send, error);
                break;
        }
    }

    private void Publish() => Status.Publish(_closedBecause is null ? EngineState.Serving : EngineState.Draining, _load.Now());

    private void Answer()
    {
        if (IsIdle)
        {
            _idleWaiters.ForEach(waiter => _replies.Add(() => waiter.TrySetResult()));
            _idleWaiters.Clear();
        }

        _replies.Send();
    }
}
