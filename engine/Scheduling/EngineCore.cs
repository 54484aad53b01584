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
    private readonly List<Sequence> _live = [];
    private readonly List<Action> _replies = [];
    private readonly List<TaskCompletionSource> _idleWaiters = [];
    private readonly ITimer _waitTimer;
    private long _lastArrival;
    private RpcException? _closedBecause;

    public EngineCore(IModelRunner runner, KvPool pool, IKvReceiver receiver, EngineLimits limits, EngineIdentity identity, TimeProvider time)
    {
        (_runner, _pool, _limits) = (runner, pool, limits);
        _cache = new PrefixCache(new PageAllocator(pool.Pages), pool.Layout.PageTokens, this);
        _reservations = new ReservationTable(_cache, receiver, pool.CopyPage, $"{identity.EngineId}-{identity.Epoch:x16}", Commands.Post, _replies.Add, time);
        _waiting = new WaitingQueue(time, limits.MaxWaiting, limits.MaxWait);
        _running = new RunningSet(limits.MaxSequences);
        _scheduler = new Scheduler(_waiting, _running, limits, pool.CopyPage, item => _reservations.TryAdmit((Reservation)item), time);
        _computation = new StepComputation(runner, pool, _scheduler, this, time);
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
    public bool IsIdle => _live.Count == 0 && _waiting.Count == 0 && _reservations.Count == 0;

    /// <summary>An empty block table for a new sequence. May be called from any thread.</summary>
    public BlockTable NewBlocks() => new(_cache);

    /// <returns>True if there may be more to do at once; false if there is nothing to do until a command is posted or a timer fires.</returns>
    public bool Step()
    {
        _ = Commands.Drain();
        var nextExpiry = _waiting.Expire(Refuse);
        var preemptions = _scheduler.Preemptions;
        var computes = _scheduler.Plan();
        if (computes)
        {
            _computation.Run();
        }

        // A plan that computes nothing may still have put a sequence back in the queue, whose wait is to be bounded, or made room for another.
        var again = FinishComputedSends() | computes | _scheduler.Preemptions != preemptions;
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
                Accept(sequence);
                Enqueue(sequence);
                return;
            }

            var reservation = _reservations.Find(reservationId);
            CheckReservation(reservation, sequence.Tokens.Span, begin ?? reservation.End);
            Accept(sequence);
            sequence.State = SequenceState.Taking;
            sequence.Received = reservation.CoveredTokens;
            _reservations.End(reservation, blocks => Inherit(sequence, blocks));
        }
        catch (Exception e)
        {
            // It may have been accepted, and even be ending by now.
            EndGenerate(sequence, KvErrors.ToRpc(e, "StartGenerate"), null);
        }
    }

    /// <summary>Queues a send. Its <see cref="SendSequence.Sent"/> is completed in any case, and its session disposed.</summary>
    internal void Submit(SendSequence sequence)
    {
        Accept(sequence);
        try
        {
            EnsureOpen(forReservation: false);
            _waiting.EnsureRoom();
            Enqueue(sequence);
        }
        catch (Exception e)
        {
            _ = _waiting.Remove(sequence);
            sequence.Fail(e);
            FinishSend(sequence);
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
        if (IsIdle && _cache.Pages.Held != 0)
        {
            throw new InvalidOperationException($"{_cache.Pages.Held} pages are held while the engine is idle");
        }
    }

    void IStepOutcomes.Failed(Sequence sequence, RpcException error) => End(sequence, error);

    void IStepOutcomes.Finished(GenerateSequence sequence, GenerateChunk last) => EndGenerate(sequence, null, last);

    void IPrefixCacheListener.Stored(ulong hash) => Status.OnCacheChange(hash, stored: true);

    void IPrefixCacheListener.Removed(ulong hash) => Status.OnCacheChange(hash, stored: false);

    /// <summary>Ends the timers and watches; the runner, pool and receiver belong to the caller.</summary>
    public void Dispose()
    {
        _waitTimer.Dispose();
        Status.Dispose();
    }

    private void EnsureOpen(bool forReservation)
    {
        if (_closedBecause is not null && !forReservation)
        {
            throw new RpcException(_closedBecause.Status, _closedBecause.Message);
        }
    }

    private static void CheckReservation(Reservation reservation, ReadOnlySpan<int> tokens, int begin)
    {
        if (tokens.Length < reservation.End || !tokens[..reservation.End].SequenceEqual(reservation.Tokens.Span))
        {
            throw new RpcException(RpcStatus.FailedPrecondition, $"Reservation '{reservation.Id}' is for other tokens than these: its {reservation.End} tokens are not how token_ids begins");
        }

        if (begin > reservation.CoveredTokens)
        {
            throw new RpcException(
                RpcStatus.FailedPrecondition,
                $"begin is {begin}, but reservation '{reservation.Id}' has the KV of {reservation.CoveredTokens} tokens"
                + (reservation.State == ReservationState.Arrived ? "" : $" ({reservation.Grant!.ArrivedTokens} of {reservation.End - reservation.MatchedTokens} more have arrived)"));
        }
    }

    private void Accept(Sequence sequence)
    {
        sequence.Arrival = ++_lastArrival;
        _live.Add(sequence);
    }

    private void Enqueue(Sequence sequence)
    {
        sequence.State = SequenceState.Waiting;
        _waiting.Enqueue(sequence);
    }

    private void Inherit(Sequence sequence, BlockTable blocks)
    {
        if (sequence.State == SequenceState.Ended)
        {
            blocks.Release();
            return;
        }

        sequence.Blocks = blocks;
        Enqueue(sequence);
    }

    private static TimeSpan Earlier(TimeSpan? one, TimeSpan? other) => (one < other ? one : other ?? one) ?? Timeout.InfiniteTimeSpan;

    /// <summary>Sends that have all their KV, computed or cached, wait for the acknowledgement off the running set.</summary>
    /// <returns>True if any gave up its seat.</returns>
    private bool FinishComputedSends()
    {
        var any = false;
        for (var index = _running.Count - 1; index >= 0; index--)
        {
            if (_running[index] is not SendSequence send || (send.Remaining > 0 && send.Error is null))
            {
                continue;
            }

            // Only what was all cached has anything left to queue here.
            for (var layer = 0; layer < _pool.Layout.Layers; layer++)
            {
                send.SendLayer(layer, send.Computed);
            }

            send.MarkPrefilled();
            FinishSend(send);
            any = true;
        }

        return any;
    }

    private void FinishSend(SendSequence sequence)
    {
        _running.Remove(sequence);
        sequence.State = SequenceState.Finishing;
        var finished = sequence.FinishAsync();
        if (finished.IsCompleted)
        {
            OnSendFinished(sequence);
        }
        else
        {
            _ = AwaitFinishAsync(sequence, finished);
        }
    }

    private async Task AwaitFinishAsync(SendSequence sequence, Task finished)
    {
        await finished;
        Commands.Post(() => OnSendFinished(sequence));
    }

    private void OnSendFinished(SendSequence sequence)
    {
        sequence.Blocks.Publish(sequence.Tokens.Span[..sequence.Computed], withTail: true);
        Close(sequence);
        if (sequence.Error is { } error)
        {
            _replies.Add(() => sequence.Sent.TrySetException(KvErrors.ToRpc(error, "RemoteSend")));
        }
        else
        {
            _replies.Add(() => sequence.Sent.TrySetResult(sequence.Reply()));
        }
    }

    private void Refuse(IWaiting item, RpcException error)
    {
        if (item is GenerateSequence { HasEmitted: true } preempted)
        {
            error = new RpcException(
                RpcStatus.Aborted,
                $"Preempted after {preempted.Generated} tokens and not admitted again. {error.Message}",
                error.RetryAfter);
        }

        End(item, error);
    }

    private Task EndAll(Func<string, bool> which, RpcException error, Func<Sequence, GenerateChunk?> lastChunk)
    {
        var closed = new List<Task>();
        foreach (var sequence in _live.Where(sequence => which(sequence.RequestId)).ToList())
        {
            closed.Add(sequence.Closed.Task);
            if (lastChunk(sequence) is { } last)
            {
                EndGenerate((GenerateSequence)sequence, null, last);
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
                EndGenerate(generate, error, null);
                break;
            case SendSequence { State: not SequenceState.Ended } send:
                _ = _waiting.Remove(send);
                send.Fail(error);
                if (send.State != SequenceState.Finishing)
                {
                    FinishSend(send);
                }

                break;
        }
    }

    private void EndGenerate(GenerateSequence sequence, RpcException? error, GenerateChunk? last)
    {
        if (sequence.State == SequenceState.Ended)
        {
            return;
        }

        if (_running.Remove(sequence))
        {
            sequence.Blocks.Publish(sequence.Tokens.Span[..sequence.Computed], withTail: true);
        }

        _ = _waiting.Remove(sequence);
        Close(sequence);
        _replies.Add(() =>
        {
            if (last is not null)
            {
                sequence.Output.Write(last);
            }

            sequence.Output.Complete(error);
        });
    }

    private void Close(Sequence sequence)
    {
        sequence.Blocks.Release();
        sequence.State = SequenceState.Ended;
        _ = _live.Remove(sequence);
        _replies.Add(() => sequence.Closed.TrySetResult());
    }

    private void Publish()
    {
        var pages = _cache.Pages;
        Status.Publish(_closedBecause is null ? EngineState.Serving : EngineState.Draining, new EngineLoad
        {
            Waiting = _waiting.Count,
            Running = _live.Count(sequence => sequence.State is SequenceState.Running or SequenceState.Finishing),
            PrefillTokensQueued = (int)Math.Min(int.MaxValue, _live.Sum(sequence => sequence.State == SequenceState.Finishing ? 0L : sequence.QueuedTokens)),
            KvPagesTotal = pages.Total,
            KvPagesFree = pages.Available,
            KvPagesHeld = pages.Held,
            KvPagesCached = pages.Idle,
            Reservations = _reservations.Count,
            StepUsMean = _computation.Statistics.StepUsMean,
            DecodeStepUsMean = _computation.Statistics.DecodeStepUsMean,
            Steps = _computation.Statistics.Steps,
            TokensGenerated = _computation.Statistics.TokensGenerated,
            TokensPrefilled = _computation.Statistics.TokensPrefilled,
            Preemptions = _scheduler.Preemptions,
        });
    }

    private void Answer()
    {
        if (IsIdle)
        {
            _replies.AddRange(_idleWaiters.Select(waiter => new Action(() => waiter.TrySetResult())));
            _idleWaiters.Clear();
        }

        foreach (var reply in _replies)
        {
            reply();
        }

        _replies.Clear();
    }
}
