using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// A send: tokens whose KV is obtained here, from the cache or by prefill, and of which [<paramref name="begin"/>, all) goes to a receiver, layer by
/// layer as it is computed. It is not preempted, since its pages are being read; it has all its pages from its admission on.
/// </summary>
/// <param name="tokens">[0, end) of the prompt.</param>
/// <param name="session">Owned; disposed when the sequence ends.</param>
/// <param name="limits">How long to wait for the receiver.</param>
public sealed class SendSequence(
    string requestId, ReadOnlySpan<int> tokens, int begin, IKvSendSession session, BlockTable blocks, EngineLimits limits, TimeProvider time)
    : Sequence(requestId, tokens, blocks, time)
{
    private readonly int _begin = begin;

    // Tokens before this are queued on the session, in all layers.
    private int _sent = begin;
    private long _firstSend;
    private TimeSpan _transfer;
    private TimeSpan _exposed;

    /// <summary>Why sending stopped, if it did.</summary>
    public Exception? Error { get; private set; }

    /// <summary>Answers RemoteSend.</summary>
    public TaskCompletionSource<RemoteSendReply> Sent { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Ends the wait for the receiver's acknowledgement.</summary>
    internal CancellationTokenSource Stop { get; } = new();

    public override int Goal => Tokens.Count;

    public override int MatchLimit => Tokens.Count;

    public override bool WantsLogits => false;

    public override bool CanPreempt => false;

    /// <summary>Queues one layer of what is computed and not yet sent. Called on the runner's thread during a step; never throws.</summary>
    /// <param name="computed">Leading tokens whose KV is there in this layer.</param>
    public void SendLayer(int layer, int computed)
    {
        if (computed <= _sent || Error is not null)
        {
            return;
        }

        try
        {
            if (_firstSend == 0)
            {
                _firstSend = Clock.GetTimestamp();
            }

            session.Send(layer, Blocks.Pages.Span, _sent, computed);
            Error = session.Failure;
        }
        catch (Exception e)
        {
            Error = e;
        }
    }

    /// <summary>All layers of the first <paramref name="computed"/> tokens were queued.</summary>
    public void MarkSent(int computed) => _sent = Math.Max(_sent, computed);

    /// <summary>Stops sending, for the reason given.</summary>
    public void Fail(Exception error)
    {
        Error ??= error;
        Stop.Cancel();
    }

    /// <summary>
    /// Waits for the acknowledgement, unless sending failed or the receiver takes nothing, and closes the session. Afterwards nobody reads the pages. Never throws.
    /// </summary>
    public async Task FinishAsync()
    {
        await AttemptAsync(() => Error is null ? CommitAsync() : Task.CompletedTask);
        await AttemptAsync(() => session.DisposeAsync().AsTask());
    }

    private async Task AttemptAsync(Func<Task> part)
    {
        try
        {
            await part();
        }
        catch (Exception e)
        {
            Error ??= e;
        }
    }

    private async Task CommitAsync()
    {
        var started = Clock.GetTimestamp();
        var committed = session.CommitAsync(_begin, Goal, Stop.Token);
        for (var sent = -1L; !committed.IsCompleted;)
        {
            if (session.BytesSent == sent || Clock.GetElapsedTime(started) >= limits.MaxLease)
            {
                throw GaveUp(sent);
            }

            sent = session.BytesSent;
            await committed.WaitAsync(limits.SendTimeout, Clock, Stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            Stop.Token.ThrowIfCancellationRequested();
        }

        await committed;
        _transfer = _firstSend == 0 ? TimeSpan.Zero : Clock.GetElapsedTime(_firstSend);
        _exposed = Clock.GetElapsedTime(started);
    }

    // The reservation is the receiver's: its lease ends it there.
    private RpcException GaveUp(long sent) => new(
        RpcStatus.Unavailable,
        $"The receiver of reservation '{session.ReservationId}' takes nothing: it has not acknowledged tokens [{_begin}, {Goal}), and in --send-timeout ({limits.SendTimeout.TotalSeconds:0.###} s) no more than the {sent} bytes sent before were sent");

    /// <summary>Completes <see cref="Sent"/>, after <see cref="FinishAsync"/>. Never throws.</summary>
    public void Answer()
    {
        try
        {
            _ = Error is null ? Sent.TrySetResult(Reply()) : Sent.TrySetException(KvErrors.ToRpc(Error, "RemoteSend"));
        }
        catch (Exception e)
        {
            _ = Sent.TrySetException(KvErrors.ToRpc(e, "RemoteSend"));
        }
    }

    private RemoteSendReply Reply() => new()
    {
        SentTokens = Goal - _begin,
        CachedTokens = CachedTokens ?? 0,
        ComputedTokens = Goal - (CachedTokens ?? 0),
        BytesSent = session.BytesSent,
        Transport = session.Transport,
        Timings = new SendTimings
        {
            QueueUs = (long)Queued.TotalMicroseconds,
            ComputeUs = (long)Prefilled.TotalMicroseconds,
            TransferUs = (long)_transfer.TotalMicroseconds,
            ExposedUs = (long)_exposed.TotalMicroseconds,
        },
    };
}
