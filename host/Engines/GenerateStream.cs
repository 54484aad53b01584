using System.Runtime.CompilerServices;
using ScriptedServe.Contracts;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>
/// The chunks of one StartGenerate. A class and not an iterator because a router may stop in the middle without disposing: the
/// request's end then closes the stream from outside, at once if the router is not inside <see cref="MoveNextAsync"/>, else as
/// soon as that returns.
/// </summary>
internal sealed class GenerateStream(HostEngine engine, HostRequest request, HostReservation? reservation, int? begin, CallArguments given, Sampling sampling)
    : IAsyncEnumerable<Chunk>, IAsyncEnumerator<Chunk>, IHostStream, IRequestHold
{
    private const int Idle = 0;
    private const int Moving = 1;
    private const int Closed = 2;

    private int state;
    private bool enumerated;
    private bool readByHost;
    private CancellationToken listener;
    private EngineCall? call;
    private WorkInFlight.Ticket? work;
    private IAsyncEnumerator<GenerateItem>? chunks;
    private CancellationTokenRegistration listenerGone;
    private bool finished;
    private bool settled;
    private int outputTokens;

    public bool IsOpenCall => true;

    public void ReadByHost() => readByHost = true;

    public Chunk Current { get; private set; } = null!;

    public IAsyncEnumerator<Chunk> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        if (enumerated)
        {
            throw new InvalidOperationException("StartGenerate: its chunks can be enumerated once; call it again for another generation.");
        }

        enumerated = true;
        if (cancellationToken.CanBeCanceled)
        {
            listener = cancellationToken;
            listenerGone = cancellationToken.UnsafeRegister(static stream => ((GenerateStream)stream!).Cancel(), this);
        }

        return this;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<bool> MoveNextAsync()
    {
        switch (Interlocked.CompareExchange(ref state, Moving, Idle))
        {
            case Moving:
                throw new InvalidOperationException("StartGenerate: the chunk before is still awaited.");
            case Closed:
                request.Scope.Token.ThrowIfCancellationRequested();
                listener.ThrowIfCancellationRequested();
                return false;
        }

        var script = ScriptScope.Current;
        script?.Leave();
        var hasWaited = false;
        try
        {
            if (call is null)
            {
                await StartAsync();
            }

            call!.Waits();
            var next = chunks!.MoveNextAsync();
            hasWaited = !next.IsCompleted;
            if (!await next)
            {
                if (!finished)
                {
                    throw new RpcException(RpcStatus.Internal, "the stream ended without a finish reason");
                }

                await CloseAsync();
                return false;
            }

            Take(chunks.Current);
            return true;
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException && call is not null)
        {
            var failure = call.Failed(e);
            settled = true;
            await CloseAsync();
            throw failure;
        }
        catch
        {
            await CloseAsync();
            throw;
        }
        finally
        {
            // Ended from outside meanwhile: the closing was left to this thread.
            if (Interlocked.CompareExchange(ref state, Idle, Moving) == Closed)
            {
                await CloseAsync();
            }

            if (hasWaited && !readByHost)
            {
                // Off the thread that reads the engine's connection: what follows is the script's.
                await Task.Yield();
            }

            script?.Resume();
        }
    }

    /// <summary>The router stopped listening, or came to the end.</summary>
    public ValueTask DisposeAsync() => new(EndAsync());

    public Task EndAsync() => Interlocked.Exchange(ref state, Closed) == Idle ? CloseAsync() : Task.CompletedTask;

    private async Task StartAsync()
    {
        var useReservation = reservation is { ComputeInPlace: false };
        if (reservation is { ComputeInPlace: true })
        {
            await reservation.Release();
        }

        call = new EngineCall(engine, request, request.Trace.Begin(engine.Id, "StartGenerate", begin ?? 0, request.Length, given), eachChunk: true, listener);
        request.Scope.Hold(this, this);
        var known = Math.Max(useReservation ? begin ?? 0 : 0, engine.CachedPrefix(request));
        work = engine.Member.Work.Begin(Math.Max(1, request.Length - known));
        if (useReservation && !reservation!.TryUse())
        {
            throw new RpcException(RpcStatus.FailedPrecondition, "the reservation has been released or used already");
        }

        chunks = call.Api.StreamGenerateAsync(ToWire(useReservation), call.Token).GetAsyncEnumerator(call.Token);
    }

    private Wire.StartGenerateRequest ToWire(bool useReservation)
    {
        var wire = new Wire.StartGenerateRequest { RequestId = request.Id, Sampling = WireMapping.ToWire(sampling) };
        HostEngine.AddTokens(wire.TokenIds, request.Tokens);
        if (begin is { } from && (useReservation || reservation is null))
        {
            wire.Begin = from;
        }

        if (useReservation)
        {
            wire.ReservationId = reservation!.ReservationId;
        }

        if (!request.Emitted.IsEmpty)
        {
            wire.Resume = new Wire.ResumeState { PromptTokens = request.PromptTokens };
        }

        return wire;
    }

    private void Take(GenerateItem item)
    {
        call!.Progressed();
        Current = item.Chunk is null ? engine.Chunks.Of(item.Token) : WireMapping.ToChunk(item.Chunk);
        if (outputTokens == 0 && !Current.Tokens.IsEmpty)
        {
            work!.PrefillDone();
            call.Trace.FirstTokenMs = request.Trace.ElapsedMs;
        }

        outputTokens += Current.Tokens.Length;
        call.Trace.OutputTokens = outputTokens;
        if (Current.FinishReason is not null)
        {
            var wire = item.Chunk!;
            finished = true;
            call.Trace.CachedTokens = wire.Usage?.CachedTokens;
            call.Trace.ComputedTokens = wire.Usage is { } usage ? Math.Max(0, request.Length - usage.CachedTokens) : null;
            call.Trace.QueueUs = wire.Timings?.QueueUs;
            call.Trace.ComputeUs = wire.Timings?.PrefillUs;
            call.Trace.DecodeUs = wire.Timings?.DecodeUs;
            call.Succeeded();
            settled = true;
        }
    }

    private void Cancel()
    {
        // A token that the router itself passed to the enumeration: to it, this is as if it had left.
        _ = EndAsync();
    }

    /// <summary>Runs once, never beside a move.</summary>
    private async Task CloseAsync()
    {
        state = Closed;
        listenerGone.Dispose();
        if (call is null)
        {
            return;
        }

        if (!settled)
        {
            call.Abandoned();
        }

        try
        {
            if (chunks is not null)
            {
                await chunks.DisposeAsync();
            }
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException)
        {
            // The stream is closed either way, and its failure has been told.
        }

        work?.Dispose();
        call.Dispose();
        call = null;
        request.Scope.LetGo(this);
    }
}
