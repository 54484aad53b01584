using System.Globalization;
using ScriptedServe.Contracts;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Engines;

/// <summary>
/// One running call on an engine: its cancellation (by the request, by the loss of the engine, by its own timeout), its place in the
/// trace, and what its failure means. Dispose it when the call has ended.
/// </summary>
internal sealed class EngineCall : IDisposable
{
    private readonly HostEngine engine;
    private readonly HostRequest request;
    private readonly CancellationTokenSource timeout;
    private readonly CancellationTokenSource linked;
    private readonly CancellationToken listener;
    private readonly ITimer? watchdog;
    private volatile bool waiting;
    private int progress;
    private int progressSeen;

    /// <param name="trace">The call's entry in the request's trace; settled by this class on failure.</param>
    /// <param name="eachChunk">True: the timeout runs anew with each <see cref="Waits"/>.</param>
    /// <param name="listener">The router's own way to stop the call; the request goes on.</param>
    /// <exception cref="EngineException">The engine cannot be reached.</exception>
    /// <exception cref="InvalidOperationException">The request has ended.</exception>
    /// <exception cref="ScriptLimitException">The request has made all the calls it may.</exception>
    public EngineCall(HostEngine engine, HostRequest request, SubCall trace, bool eachChunk = false, CancellationToken listener = default)
    {
        this.engine = engine;
        this.request = request;
        this.listener = listener;
        Trace = trace;
        switch (request.Scope.EnterCall())
        {
            case CallEntry.HasEnded:
                request.Trace.End(trace, CallOutcome.Failed, "the request had ended");
                throw new InvalidOperationException($"{trace.Call} on {engine.Id}: request {request.Id} has ended; a router makes calls only while it handles the request.");
            case CallEntry.TooMany:
                var limit = string.Create(CultureInfo.InvariantCulture, $"{request.Trace.Router} made more than {request.Scope.MostCalls} calls on engines for one request (setting script-subcalls)");
                request.Trace.End(trace, CallOutcome.Failed, limit);
                throw ScriptGuard.Passed(limit);
        }

        if (engine.Member.Connection is not { } connection)
        {
            request.Scope.ExitCall();
            var why = $"engine {engine.Id} cannot be reached: it is {engine.Member.State}{(engine.Member.Reason is { } reason ? $" ({reason})" : "")}";
            request.Trace.End(trace, CallOutcome.Failed, why);
            throw new EngineException(engine.Id, EngineError.Unavailable, why);
        }

        Connection = connection;
        if (eachChunk)
        {
            // One timer a stream, not one a chunk: a silence is noticed after one to two timeouts.
            timeout = new CancellationTokenSource();
            watchdog = engine.Time.CreateTimer(static state => ((EngineCall)state!).LookForProgress(), this, engine.Settings.CallTimeout, engine.Settings.CallTimeout);
        }
        else
        {
            timeout = new CancellationTokenSource(engine.Settings.CallTimeout, engine.Time);
        }

        linked = CancellationTokenSource.CreateLinkedTokenSource(request.Scope.Token, connection.Lost, timeout.Token, listener);
    }

    public EngineConnection Connection { get; }

    public IEngineApi Api => Connection.Api;

    public SubCall Trace { get; }

    public CancellationToken Token => linked.Token;

    /// <summary>The next chunk is being waited for. A router or client that takes its time does not count against the engine.</summary>
    public void Waits()
    {
        progress++;
        waiting = true;
    }

    public void Progressed() => waiting = false;

    public void Succeeded() => request.Trace.End(Trace, CallOutcome.Ok);

    /// <summary>The router stopped listening before the end.</summary>
    public void Abandoned()
    {
        AbortAtEnd();
        request.Trace.End(Trace, CallOutcome.Cancelled, "the router stopped listening");
    }

    /// <summary>
    /// What a router is told of a failure: an <see cref="EngineException"/>, or <see cref="OperationCanceledException"/> where the
    /// request itself was cancelled. Whatever the engine may still hold for the request is aborted when the request ends.
    /// </summary>
    public Exception Failed(Exception cause)
    {
        if (request.Scope.Token.IsCancellationRequested)
        {
            AbortAtEnd();
            request.Trace.End(Trace, CallOutcome.Cancelled, "the request was cancelled");
            return new OperationCanceledException($"Request {request.Id} was cancelled during {Trace.Call} on {engine.Id}.", cause, request.Scope.Token);
        }

        if (listener.IsCancellationRequested)
        {
            Abandoned();
            return new OperationCanceledException($"The router stopped {Trace.Call} on {engine.Id}.", cause, listener);
        }

        var failure = Connection.Lost.IsCancellationRequested ? Error(EngineError.Unavailable, $"the engine was lost: {Connection.LostBecause}")
            : timeout.IsCancellationRequested ? Error(EngineError.Cancelled, string.Create(CultureInfo.InvariantCulture, $"no answer within {engine.Settings.CallTimeout.TotalSeconds:0.#} s (--call-timeout)"))
            : cause is RpcException rpc ? Error(WireMapping.ToError(rpc.Status), rpc.Message, rpc.RetryAfter)
            : Error(EngineError.Internal, cause.Message);
        if (cause is not RpcException refused || WireMapping.MayStillHold(refused.Status))
        {
            AbortAtEnd();
        }

        request.Trace.End(Trace, CallOutcome.Failed, failure.Message);
        return failure;

        EngineException Error(EngineError error, string message, TimeSpan? retryAfter = null) =>
            new(engine.Id, error, $"{Trace.Call} on {engine.Id}: {message}", retryAfter, cause);
    }

    public void Dispose()
    {
        watchdog?.Dispose();
        linked.Dispose();
        if (watchdog is null)
        {
            timeout.Dispose();
        }

        // Else it is not disposed: the watchdog may be firing just now, and without a timer of its own the source holds nothing.
        request.Scope.ExitCall();
    }

    private void AbortAtEnd() => request.Scope.Hold(Connection, new AbortHold(engine, Connection, request));

    private void LookForProgress()
    {
        if (waiting && progressSeen == progress)
        {
            timeout.Cancel();
        }

        progressSeen = progress;
    }

    /// <summary>A call ended in a way that leaves open what the engine holds: when the request ends, everything of it is aborted there.</summary>
    private sealed class AbortHold(HostEngine engine, EngineConnection connection, HostRequest request) : IRequestHold
    {
        public bool IsOpenCall => false;

        public async Task EndAsync()
        {
            // A lost engine holds nothing, or is out of reach until its leases have expired.
            if (!connection.Lost.IsCancellationRequested)
            {
                await engine.ControlAsync(request, connection, "Abort", (api, token) => api.AbortAsync(new() { RequestId = request.Id }, token), onlyTrace: true);
            }
        }
    }
}
