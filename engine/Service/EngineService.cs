using System.Runtime.CompilerServices;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;
using ScriptedServe.Engine.Reservations;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Service;

/// <summary>The microserving interface of an engine: checks what callers give and turns their calls into commands to the core. Thread-safe.</summary>
/// <param name="core">Driven by the caller.</param>
/// <param name="sender">Belongs to the caller.</param>
public sealed class EngineService(EngineCore core, IKvSender sender, TimeProvider time) : IEngineApi
{
    private const string NothingSent = "none";
    private static readonly TimeSpan LongestInterval = TimeSpan.FromHours(1);

    private readonly RequestValidation _validation = new(core);

    public async Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken)
    {
        var id = RequestValidation.RequestId(request.RequestId);
        var tokens = _validation.Tokens(request.TokenIds);
        var end = RequestValidation.Position("end", request.HasEnd ? request.End : tokens.Length, tokens.Length);
        var lease = _validation.Lease(request.LeaseMs);
        _validation.CheckFitsPool(end);

        var reservation = await CallAsync(() => core.Prepare(id, tokens, end, lease));
        using var cancel = cancellationToken.Register(() => core.Commands.Post(() => core.Cancel(reservation)));
        var reply = await reservation.Prepared.Task;
        cancellationToken.ThrowIfCancellationRequested();
        return reply;
    }

    public async Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken)
    {
        var id = RequestValidation.RequestId(request.RequestId);
        var tokens = _validation.Tokens(request.TokenIds);
        var begin = RequestValidation.Position("begin", request.HasBegin ? request.Begin : 0, tokens.Length);
        var end = RequestValidation.Position("end", request.HasEnd ? request.End : tokens.Length, tokens.Length);
        if (begin > end)
        {
            throw RequestValidation.Invalid("begin", begin, $"at most end, {end}");
        }

        _validation.CheckFitsPool(end);
        if (begin == end)
        {
            return new RemoteSendReply { Transport = NothingSent, Timings = new SendTimings() };
        }

        var session = await OpenAsync(request.KvAddress.Memory, cancellationToken);
        SendSequence? sequence = null;
        try
        {
            if (!Covers(session, tokens, ref begin, end))
            {
                return new RemoteSendReply { Transport = NothingSent, Timings = new SendTimings() };
            }

            sequence = new SendSequence(id, tokens.AsSpan(0, end), begin, session, core.NewBlocks(tokens.Length), core.Limits, time);
        }
        finally
        {
            if (sequence is null)
            {
                await session.DisposeAsync();
            }
        }

        core.Commands.Post(() => core.Submit(sequence));
        using var cancel = cancellationToken.Register(() => core.Commands.Post(() => core.Cancel(sequence)));
        return await sequence.Sent.Task;
    }

    public async IAsyncEnumerable<GenerateChunk> StartGenerateAsync(
        StartGenerateRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var id = RequestValidation.RequestId(request.RequestId);
        var tokens = _validation.Tokens(request.TokenIds);
        int? begin = request.HasBegin ? RequestValidation.Position("begin", request.Begin, tokens.Length) : null;
        var promptTokens = RequestValidation.PromptTokens(request.Resume, tokens.Length);
        var sampling = _validation.Sampling(request.Sampling);

        var output = new GenerationOutput(core.Limits.OutputChunks, core.Commands.Wake);
        var sequence = new GenerateSequence(id, tokens, promptTokens, sampling, core.ContextTokens, output, core.NewBlocks(tokens.Length), time);
        if (sequence.FinishBeforeStart() is { } finished)
        {
            if (request.ReservationId.Length > 0)
            {
                _ = await ReleaseAsync(new ReleaseRequest { ReservationId = request.ReservationId }, cancellationToken);
            }

            yield return sequence.LastChunk(finished);
            yield break;
        }

        _validation.CheckRoomToGenerate(tokens.Length);
        core.Commands.Post(() => core.Submit(sequence, request.ReservationId is { Length: > 0 } reservation ? reservation : null, begin));
        try
        {
            await foreach (var chunk in output.ReadAsync(cancellationToken))
            {
                yield return chunk;
            }
        }
        finally
        {
            core.Commands.Post(() => core.Cancel(sequence));
        }
    }

    public async Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken)
    {
        var closed = await CallAsync(() => core.Release(request.ReservationId));
        await AwaitClosedAsync(closed, $"Reservation '{request.ReservationId}'", cancellationToken);
        return new ReleaseReply();
    }

    public async Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken)
    {
        var id = RequestValidation.RequestId(request.RequestId);
        var ended = await CallAsync(() => core.Abort(id));
        await AwaitClosedAsync(ended, $"Request '{id}'", cancellationToken);
        return new AbortReply();
    }

    public Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken) => Task.FromResult(core.Status.Current);

    public async IAsyncEnumerable<EngineStatus> WatchStatusAsync(
        WatchStatusRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var interval = TimeSpan.FromMilliseconds(Math.Min(request.MinIntervalMs, LongestInterval.TotalMilliseconds));
        var watch = await CallAsync(core.Status.Watch);
        try
        {
            while (await watch.Changed.WaitToReadAsync(cancellationToken))
            {
                _ = watch.Changed.TryRead(out _);
                yield return await CallAsync(() => core.Status.Take(watch));
                if (interval > TimeSpan.Zero)
                {
                    // An engine that ends does not wait for the interval; a caller who is gone is noticed above.
                    await watch.Ended.WaitAsync(interval, time, cancellationToken)
                        .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
                }
            }
        }
        finally
        {
            core.Commands.Post(() => core.Status.Unwatch(watch));
        }
    }

    public async Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken)
    {
        var idle = await CallAsync(core.Drain);
        await idle.WaitAsync(cancellationToken);
        return new DrainReply();
    }

    /// <summary>Ends everything the engine holds; new calls fail with UNAVAILABLE.</summary>
    public async Task ShutdownAsync() => await await CallAsync(core.Shutdown);

    /// <summary>Whether the address takes any of [begin, end). What its receiver had cached when it made the address is not asked for in it.</summary>
    /// <exception cref="RpcException">It is for other tokens, or ends before <paramref name="end"/>.</exception>
    private bool Covers(IKvSendSession session, int[] tokens, ref int begin, int end)
    {
        if (tokens.Length < session.End || !ReservationIds.IsFor(session.ReservationId, tokens.AsSpan(0, session.End), tokens.Length > core.Model.ShortContext))
        {
            throw new RpcException(RpcStatus.FailedPrecondition, $"kv_address is for other tokens than these: the {session.End} tokens it was made for are not how token_ids begins");
        }

        begin = Math.Max(begin, session.Begin);
        return end <= session.End ? begin < end : throw RequestValidation.Invalid("end", end, $"at most {session.End}: kv_address takes tokens [{session.Begin}, {session.End})");
    }

    /// <summary>Waits until nothing is held any more, though not for a sender that is stuck within a write.</summary>
    private async Task AwaitClosedAsync(Task closed, string what, CancellationToken cancellationToken)
    {
        try
        {
            await closed.WaitAsync(core.Limits.MaxWait, time, cancellationToken);
        }
        catch (TimeoutException)
        {
            // It may have closed as the time was up.
            if (!closed.IsCompleted)
            {
                throw new RpcException(
                    RpcStatus.Unavailable,
                    $"{what} is ending, but a sender is still within a write to its pages after --max-wait ({core.Limits.MaxWait.TotalSeconds:0.###} s): it may be stuck. They come back when it leaves or dies");
            }
        }
    }

    private async Task<IKvSendSession> OpenAsync(ReadOnlyMemory<byte> address, CancellationToken cancellationToken)
    {
        try
        {
            return await sender.OpenAsync(address, cancellationToken);
        }
        catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
        {
            throw KvErrors.ToRpc(e, "RemoteSend, opening kv_address");
        }
    }

    private Task<T> CallAsync<T>(Func<T> command)
    {
        var result = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        core.Commands.Post(() =>
        {
            try
            {
                result.SetResult(command());
            }
            catch (RpcException e)
            {
                result.SetException(e);
            }
            catch (Exception e)
            {
                result.SetException(new RpcException(RpcStatus.Internal, $"{e.GetType().Name}: {e.Message}", inner: e));
            }
        });
        return result.Task;
    }
}
