using ScriptedServe.KvTransport.Memory;

namespace ScriptedServe.KvTransport.Receiving;

/// <summary>
/// One grant's life: Open, then Complete when all has arrived, then Closed when revoked (or from Open directly). Its slot in the grant table tells senders
/// the state; the rest is here, under one lock. No I/O.
/// </summary>
internal sealed class KvGrant : IKvGrant, IDisposable
{
    private readonly Lock _gate = new();
    private readonly RangeSet _committed = new();
    private readonly GrantTable _table;
    private readonly TimeProvider _time;
    private readonly Action<IKvGrant>? _arrived;
    private readonly Action<KvGrant> _ended;
    private readonly TaskCompletionSource _arrival = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _settled = new();
    private readonly CancellationTokenSource _revoked = new();
    private GrantState _state = GrantState.Open;
    private TaskCompletionSource? _revocation;
    private TaskCompletionSource? _writersGone;
    private Task _completion = Task.CompletedTask;
    private bool _hasArrived;
    private bool _givenUp;
    private readonly List<(int Cell, long WritesBefore)> _sharing = [];
    private long _sharedWritesBefore;
    private int _sessions;
    private long _lastUsed;

    /// <param name="ended">Called once, when the revocation is over and the slot may serve another grant.</param>
    public KvGrant(string reservationId, int[] pages, int begin, int end, GrantTable table, int slot, ulong generation, TimeProvider time, Action<IKvGrant>? arrived, Action<KvGrant> ended)
    {
        (ReservationId, Pages, Begin, End, Slot, Generation) = (reservationId, pages, begin, end, slot, generation);
        (_table, _time, _arrived, _ended) = (table, time, arrived, ended);
        _lastUsed = time.GetTimestamp();
        Settled = _settled.Token;
        Revoked = _revoked.Token;
        table.Set(slot, generation, GrantState.Open);
    }

    public string ReservationId { get; }

    public int[] Pages { get; }

    public int Begin { get; }

    public int End { get; }

    public int Slot { get; }

    public ulong Generation { get; }

    public ReadOnlyMemory<byte> Address { get; set; }

    public bool HasArrived => Volatile.Read(ref _hasArrived);

    public Task Arrival => _arrival.Task;

    public int Sessions => Volatile.Read(ref _sessions);

    public long LastUsed => Volatile.Read(ref _lastUsed);

    public long SharedWrites
    {
        get
        {
            lock (_gate)
            {
                return _sharedWritesBefore + _sharing.Sum(session => _table.Writes(session.Cell) - session.WritesBefore);
            }
        }
    }

    public int ArrivedTokens
    {
        get
        {
            lock (_gate)
            {
                return _committed.Count;
            }
        }
    }

    /// <summary>Cancelled when nobody may write any more, so that a stream session which waits for its peer's bytes within a write lets go.</summary>
    public CancellationToken Settled { get; }

    /// <summary>Cancelled when the grant is revoked; so are then the stream sessions over it.</summary>
    public CancellationToken Revoked { get; }

    public void Touch() => Volatile.Write(ref _lastUsed, _time.GetTimestamp());

    public void SessionOpened(int cell, bool sharedMemory)
    {
        Interlocked.Increment(ref _sessions);
        Touch();
        lock (_gate)
        {
            if (sharedMemory)
            {
                _sharing.Add((cell, _table.Writes(cell)));
            }
        }
    }

    /// <summary>Before the cell may serve another session.</summary>
    public void SessionClosed(int cell)
    {
        lock (_gate)
        {
            if (_sharing.FindIndex(session => session.Cell == cell) is >= 0 and var index)
            {
                _sharedWritesBefore += _table.Writes(cell) - _sharing[index].WritesBefore;
                _sharing.RemoveAt(index);
            }
        }

        Interlocked.Decrement(ref _sessions);
    }

    /// <summary>Counts [begin, end) as arrived. If that was the last part, returns after the arrival has been told.</summary>
    /// <exception cref="KvTransportException">OutOfRange, or Ended.</exception>
    public async Task CommitAsync(int begin, int end)
    {
        if (begin < Begin || end > End || begin > end)
        {
            throw new KvTransportException(KvFault.OutOfRange, $"Commit of tokens [{begin}, {end}) to reservation {ReservationId}, which holds [{Begin}, {End}).");
        }

        Task completion;
        lock (_gate)
        {
            if (_state == GrantState.Closed)
            {
                throw Over();
            }

            Touch();
            _committed.Add(begin, end);
            if (_state == GrantState.Open && _committed.Covers(Begin, End))
            {
                // From here on nobody writes: what has arrived may be shared, and must not change any more.
                SetState_NeedsLock(GrantState.Complete);
                _completion = CompleteAsync();
            }

            // A sender whose part came twice is told Committed only once the whole has arrived, as the other is.
            completion = _state == GrantState.Complete ? _completion : Task.CompletedTask;
        }

        await completion;
        if (completion != Task.CompletedTask && !HasArrived)
        {
            throw Over();
        }
    }

    public KvTransportException Over() => new(KvFault.Ended, $"Reservation {ReservationId} has ended: it was released, aborted, or its lease ran out.");

    public Task RevokeAsync()
    {
        lock (_gate)
        {
            if (_revocation is not null)
            {
                return _revocation.Task;
            }

            _revocation = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            SetState_NeedsLock(GrantState.Closed);
        }

        _ = FinishRevocationAsync(_revocation);
        return _revocation.Task;
    }

    /// <summary>A writer may have left: whoever waits for that looks again.</summary>
    public void Recheck()
    {
        TaskCompletionSource? gone = null;
        lock (_gate)
        {
            if (_writersGone is not null && _table.Writers(Slot) == 0)
            {
                (gone, _writersGone) = (_writersGone, null);
            }
        }

        gone?.SetResult();
    }

    /// <summary>The endpoint is going away: ends the grant, and whoever waits for a writer that cannot be told to leave any more gets an error.</summary>
    public async Task GiveUpAsync()
    {
        TaskCompletionSource? gone;
        lock (_gate)
        {
            _givenUp = true;
            (gone, _writersGone) = (_writersGone, null);
        }

        gone?.SetException(StillWritten());
        await RevokeAsync().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public void Dispose()
    {
        _settled.Dispose();
        _revoked.Dispose();
    }

    private async Task CompleteAsync()
    {
        // Away from the caller's lock: what follows calls out.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        await _settled.CancelAsync();
        await WritersGoneAsync();
        lock (_gate)
        {
            if (_state != GrantState.Complete)
            {
                return;
            }

            Volatile.Write(ref _hasArrived, true);
        }

        try
        {
            _arrived?.Invoke(this);
        }
        finally
        {
            _arrival.TrySetResult();
        }
    }

    private async Task FinishRevocationAsync(TaskCompletionSource revocation)
    {
        // Whatever a listener to these throws must not keep the pages from coming back.
        await _settled.CancelAsync().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _revoked.CancelAsync().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        var gone = WritersGoneAsync();
        await gone.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

        // An arrival that is being told is told to its end first.
        await _completion.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _arrival.TrySetCanceled(Revoked);
        if (gone.IsCompletedSuccessfully)
        {
            _ended(this);
            revocation.SetResult();
        }
        else
        {
            revocation.SetException(StillWritten());
        }

        Dispose();
    }

    private Task WritersGoneAsync()
    {
        lock (_gate)
        {
            // Registered before the cells are read, so that a writer leaving meanwhile finds somebody to tell.
            _writersGone ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var task = _writersGone.Task;
            if (_table.Writers(Slot) == 0)
            {
                _writersGone.SetResult();
                _writersGone = null;
            }
            else if (_givenUp)
            {
                _writersGone.SetException(StillWritten());
                _writersGone = null;
            }

            return task;
        }
    }

    private ObjectDisposedException StillWritten() =>
        new(nameof(KvEndpoint), $"The endpoint was disposed while a sender was writing to reservation {ReservationId}.");

    private void SetState_NeedsLock(GrantState state)
    {
        _state = state;
        _table.Set(Slot, Generation, state);
    }
}
