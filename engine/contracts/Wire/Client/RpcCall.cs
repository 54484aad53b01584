using System.Threading.Tasks.Sources;
using Google.Protobuf;
using ScriptedServe.Contracts.Wire.Client.Http2;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>Makes an item of a message's bytes.</summary>
/// <exception cref="InvalidProtocolBufferException">It is no such message.</exception>
internal delegate T MessageDecoder<out T>(ReadOnlySpan<byte> message);

/// <summary>
/// One call and the items of its reply: begun by the first move, ended by the status or by disposal, which resets the stream. To be enumerated once, by one reader.
/// A move that waits allocates nothing. Items that came before a failure come before it.
/// </summary>
/// <param name="name">Of an item, for messages.</param>
/// <param name="isHostRead">
/// The reader goes on at once, on the thread that reads the connection: it must neither block nor compute for long. Otherwise it goes on on a thread of the pool.
/// </param>
internal sealed class RpcCall<T>(RpcChannel channel, string path, IMessage request, MessageDecoder<T> decode, string name, TimeSpan? timeout, bool isHostRead, CancellationToken callersToken)
    : Http2Stream, IAsyncEnumerable<T>, IAsyncEnumerator<T>, IValueTaskSource<bool>
{
    private const int MostAttempts = 3;

    /// <summary>Of the stream's window: told to the peer in such pieces.</summary>
    private const int CreditBytes = 16 << 10;

    private readonly Lock _gate = new();
    private readonly ReplyBuffer _reply = new(channel.Frames);
    private readonly TimeSpan? _timeout = timeout <= RpcTimeout.Longest ? timeout : null;
    private ManualResetValueTaskSourceCore<bool> _wait = new() { RunContinuationsAsynchronously = !isHostRead };
    private CancellationToken _enumeratorsToken;
    private CancellationTokenRegistration _callerGone;
    private CancellationTokenRegistration _enumeratorGone;
    private CancellationTokenSource? _deadline;
    private RpcStatus? _headerStatus;
    private Exception? _failure;
    private byte[] _body = [];
    private int _attempts;
    private int _uncredited;
    private bool _isEnumerated;
    private bool _hasBegun;
    private bool _isOver;
    private bool _isWaiting;
    private bool _isDisposed;

    public T Current { get; private set; } = default!;

    private string Method => $"{channel.Address}{path}";

    private CallErrors Errors => new(channel.Address, path, _timeout, _deadline is { IsCancellationRequested: true }, callersToken, _enumeratorsToken);

    public IAsyncEnumerator<T> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        if (_isEnumerated)
        {
            throw new InvalidOperationException($"The reply of {Method} can be enumerated once.");
        }

        _isEnumerated = true;
        _enumeratorsToken = cancellationToken == callersToken ? default : cancellationToken;
        return this;
    }

    /// <exception cref="RpcException">The call failed.</exception>
    /// <exception cref="OperationCanceledException">A token given by the caller was cancelled.</exception>
    public ValueTask<bool> MoveNextAsync()
    {
        if (_hasBegun)
        {
            return NextAsync();
        }

        _hasBegun = true;
        var opening = OpenFirstAsync();
        return opening.IsCompletedSuccessfully ? NextAsync() : FirstAsync(opening);

        async ValueTask<bool> FirstAsync(Task opening)
        {
            await opening;
            return await NextAsync();
        }
    }

    public ValueTask DisposeAsync()
    {
        bool isOver;
        lock (_gate)
        {
            if (_isDisposed)
            {
                return ValueTask.CompletedTask;
            }

            _isDisposed = true;
            isOver = _isOver;
            _isOver = true;
            _reply.Dispose();
        }

        // Not waiting for one that runs: it does nothing any more.
        _callerGone.Unregister();
        _enumeratorGone.Unregister();
        _deadline?.Dispose();
        if (!isOver)
        {
            Connection?.Reset(this);
        }

        return ValueTask.CompletedTask;
    }

    public override void OnHeaders(ResponseHeaders headers, bool isLast)
    {
        lock (_gate)
        {
            if (_isOver)
            {
                return;
            }

            _headerStatus = headers.Status;
            if (Errors.Judge(headers) is { } failure)
            {
                EndBeforeTime_NeedsLock(failure);
            }
            else if (isLast)
            {
                End_NeedsLock(headers.Status, headers);
            }
        }

        ResetIfFailed(isLast);
    }

    public override void OnData(ReadOnlySpan<byte> data, bool isLast)
    {
        var credit = 0;
        lock (_gate)
        {
            if (_isOver)
            {
                return;
            }

            _reply.Add(data);
            _uncredited += data.Length;
            if (isLast)
            {
                End_NeedsLock(_headerStatus, null);
            }
            else if (_isWaiting)
            {
                credit = TakeCredit_NeedsLock(_uncredited);
            }
        }

        Credit(credit);
    }

    public override void OnTrailers(ResponseHeaders trailers)
    {
        lock (_gate)
        {
            // A response that had its status in the headers has been judged by those.
            End_NeedsLock(trailers.Status ?? _headerStatus, trailers);
        }
    }

    public override void OnReset(Http2Error error)
    {
        if (error == Http2Error.RefusedStream && Reopen())
        {
            return;
        }

        Fail(Errors.CutOff(error));
    }

    public override void OnLost(Exception cause, bool isUnprocessed)
    {
        if (isUnprocessed && Reopen())
        {
            return;
        }

        Fail(Errors.Unreachable(cause));
    }

    public override void Tell()
    {
        Exception? failure = null;
        var has = false;
        lock (_gate)
        {
            if (!_isWaiting)
            {
                return;
            }

            try
            {
                if (_reply.TryPeek(out _))
                {
                    has = true;
                }
                else if (_isOver)
                {
                    failure = Outcome_NeedsLock();
                }
                else
                {
                    return;
                }
            }
            catch (RpcException e)
            {
                EndBeforeTime_NeedsLock(e);
                failure = e;
            }

            _isWaiting = false;
        }

        if (failure is null)
        {
            _wait.SetResult(has);
            return;
        }

        ResetIfFailed(isLast: false);
        _wait.SetException(failure);
    }

    bool IValueTaskSource<bool>.GetResult(short token)
    {
        if (!_wait.GetResult(token))
        {
            return false;
        }

        lock (_gate)
        {
            return TryTake_NeedsLock() ? true : throw new ObjectDisposedException(Method);
        }
    }

    ValueTaskSourceStatus IValueTaskSource<bool>.GetStatus(short token) => _wait.GetStatus(token);

    void IValueTaskSource<bool>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _wait.OnCompleted(continuation, state, token, flags);

    private ValueTask<bool> NextAsync()
    {
        int credit;
        short version;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (TryTake_NeedsLock())
            {
                credit = TakeCredit_NeedsLock(_uncredited - _reply.Length);
                version = -1;
            }
            else if (_isOver)
            {
                return Outcome_NeedsLock() is { } failure ? ValueTask.FromException<bool>(failure) : new ValueTask<bool>(false);
            }
            else
            {
                _wait.Reset();
                _isWaiting = true;
                credit = TakeCredit_NeedsLock(_uncredited);
                version = _wait.Version;
            }
        }

        Credit(credit);
        return version < 0 ? new ValueTask<bool>(true) : new ValueTask<bool>(this, version);
    }

    /// <exception cref="RpcException">What is there is not the message it should be.</exception>
    private bool TryTake_NeedsLock()
    {
        var bytes = 0;
        try
        {
            if (!_reply.TryPeek(out var message))
            {
                return false;
            }

            bytes = message.Length;
            Current = decode(message);
            _reply.Skip(bytes);
            return true;
        }
        catch (InvalidProtocolBufferException e)
        {
            throw channel.Frames.NotThe(name, bytes, e);
        }
    }

    private async Task OpenFirstAsync()
    {
        callersToken.ThrowIfCancellationRequested();
        _enumeratorsToken.ThrowIfCancellationRequested();
        _body = MessageFrames.Of(request);
        if (_timeout is { } wait)
        {
            _deadline = new CancellationTokenSource(wait, channel.Time);
            _deadline.Token.UnsafeRegister(static call => ((RpcCall<T>)call!).GiveUp(((RpcCall<T>)call).Errors.PastDeadline(null)), this);
        }

        _callerGone = callersToken.UnsafeRegister(static (call, token) => ((RpcCall<T>)call!).GiveUp(((RpcCall<T>)call).Errors.Cancelled(token)), this);
        _enumeratorGone = _enumeratorsToken.UnsafeRegister(static (call, token) => ((RpcCall<T>)call!).GiveUp(((RpcCall<T>)call).Errors.Cancelled(token)), this);
        await OpenAsync();
    }

    private async Task OpenAsync()
    {
        _attempts++;
        while (true)
        {
            foreach (var connection in channel.Connections.Present)
            {
                if (connection.TryOpen(this, channel.HeadersOf(path), _timeout is { } wait ? RequestHeaders.Timeout(wait) : [], _body))
                {
                    // Given up while it was opened.
                    if (IsOver())
                    {
                        connection.Reset(this);
                    }

                    return;
                }
            }

            try
            {
                using var stop = CancellationTokenSource.CreateLinkedTokenSource(callersToken, _enumeratorsToken, _deadline?.Token ?? default);
                await channel.Connections.AddAsync().WaitAsync(stop.Token);
            }
            catch (Exception e)
            {
                Fail(Errors.Unreachable(e));
                Tell();
                return;
            }
        }
    }

    /// <summary>The server has not begun with it: another connection may.</summary>
    private bool Reopen()
    {
        lock (_gate)
        {
            if (_isOver || _attempts >= MostAttempts)
            {
                return false;
            }
        }

        _ = Task.Run(OpenAsync);
        return true;
    }

    private bool IsOver()
    {
        lock (_gate)
        {
            return _isOver;
        }
    }

    private void GiveUp(Exception why)
    {
        Fail(why);
        Connection?.Reset(this);

        // Not on the thread that cancels, which has others to tell.
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    private void Fail(Exception failure)
    {
        lock (_gate)
        {
            if (!_isOver)
            {
                _isOver = true;
                _failure = failure;
            }
        }
    }

    private void End_NeedsLock(RpcStatus? status, ResponseHeaders? trailers)
    {
        if (_isOver)
        {
            return;
        }

        _isOver = true;
        _failure = Errors.OfEnd(status, trailers);
    }

    /// <summary>How it ended, once what came before has been read.</summary>
    private Exception? Outcome_NeedsLock() => _failure ?? (_reply.Length > 0 ? channel.Frames.CutOff(_reply.Length) : null);

    private void EndBeforeTime_NeedsLock(Exception failure)
    {
        _isOver = true;
        _failure = failure;
        _reply.Dispose();
    }

    private void ResetIfFailed(bool isLast)
    {
        if (!isLast && IsOver())
        {
            Connection?.Reset(this);
        }
    }

    private int TakeCredit_NeedsLock(int bytes)
    {
        if (bytes < CreditBytes)
        {
            return 0;
        }

        _uncredited -= bytes;
        return bytes;
    }

    private void Credit(int bytes)
    {
        if (bytes > 0)
        {
            Connection?.Credit(this, bytes);
        }
    }
}
