using System.Globalization;
using System.Runtime.CompilerServices;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>
/// One request on its way through a pinned router:
/// 1. the script's stream is opened, under the request's cancellation (client, deadline, host stopping);
/// 2. each chunk is checked and passed on;
/// 3. at the end, however it comes, the scope gives back what engines hold, the trace is settled and the router is unpinned.
/// The pin outlives the request only where a script does not stop when cancelled: then until it does.
/// </summary>
internal sealed class RoutedRequest(RequestRunner runner, RequestSpec spec, IRouterLease lease, RequestTrace trace) : RunningRequest
{
    private int began;
    private int ended;
    private RequestScope? scope;
    private CancellationTokenSource? deadline;
    private CancellationToken client;
    private IAsyncEnumerator<Chunk>? script;
    private ScriptMove? move;
    private Task? closing;
    private bool cameToEnd;
    private Exception? failure;
    private RouterStreamCheck? check;
    private IRequestRecording? recording;

    public override string Router => trace.Router;

    public override async IAsyncEnumerable<Chunk> Chunks([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref began, 1) != 0)
        {
            throw new InvalidOperationException($"The chunks of request {spec.Id} can be enumerated once.");
        }

        client = cancellationToken;
        try
        {
            Open();
            while (await AdvanceAsync() is { } chunk)
            {
                trace.Emitted(chunk.Tokens.Length);
                recording?.Emitted(chunk);
                yield return chunk;
            }
        }
        finally
        {
            await EndAsync();
        }
    }

    public override async ValueTask DisposeAsync()
    {
        began = 1;
        await EndAsync();
    }

    /// <summary>Step 1.</summary>
    private void Open()
    {
        var left = (spec.Deadline - runner.Time.GetUtcNow()) ?? runner.Settings.Timeout;
        deadline = left > TimeSpan.Zero ? new CancellationTokenSource(left, runner.Time) : new CancellationTokenSource(TimeSpan.Zero);
        scope = new RequestScope(runner.Time, runner.Settings.Patience, client, deadline.Token, runner.HostStopping) { MostCalls = runner.Settings.SubCalls };
        check = new RouterStreamCheck(Router, spec.PromptTokens.Length, spec.Sampling, runner.Fleet.Model?.VocabSize ?? 0);
        var request = new HostRequest(spec, emitted: default, trace, scope);
        recording = runner.Recorder?.Begin((lease.Name, lease.Version), spec, request);
        try
        {
            move = new ScriptMove(scope.Token);
            script = lease.HandleRequest(request, trace).GetAsyncEnumerator(scope.Token);
        }
        catch (Exception e)
        {
            throw Failed(e);
        }
    }

    /// <summary>Step 2: the next chunk that says something, or null at the end.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<Chunk?> AdvanceAsync()
    {
        try
        {
            while (true)
            {
                // A script that waits for something of its own does not hold up a client that left.
                if (!await move!.WaitAsync(script!.MoveNextAsync()))
                {
                    check!.Ended();
                    cameToEnd = true;
                    return null;
                }

                if (check!.Accept(script.Current) is { } chunk)
                {
                    return chunk;
                }

                // A script that yields nothing over and over, without ever waiting, ends with its request.
                scope!.Token.ThrowIfCancellationRequested();
            }
        }
        catch (Exception e)
        {
            throw Failed(e);
        }
    }

    /// <summary>What the caller of Chunks is told: see <see cref="RunningRequest.Chunks"/>.</summary>
    private Exception Failed(Exception cause) => failure = cause switch
    {
        _ when client.IsCancellationRequested => new OperationCanceledException($"Request {spec.Id} was cancelled by the client.", cause, client),
        _ when deadline!.IsCancellationRequested => new EngineException(
            "",
            EngineError.Cancelled,
            string.Create(CultureInfo.InvariantCulture, $"Request {spec.Id} did not end within its deadline; {check?.Emitted ?? 0} tokens had been generated ({(spec.Deadline is null ? "--request-timeout" : "the client's deadline")})."),
            null,
            cause),
        _ when runner.HostStopping.IsCancellationRequested => new EngineException("", EngineError.Unavailable, "The host is stopping.", null, cause),
        EngineException or RouterFailedException => cause,
        _ => ScriptFailure.Describe(Router, cause),
    };

    /// <summary>Step 3, once.</summary>
    private async Task EndAsync()
    {
        if (Interlocked.Exchange(ref ended, 1) != 0)
        {
            return;
        }

        var scriptEnded = true;
        try
        {
            if (scope is not null)
            {
                // A script that has come to its end has no await left that the cancellation would resume.
                var ending = scope.EndAsync(onThisThread: cameToEnd && (PoolThread.IsTaken || script is ScriptStream { HasShortTurns: true }));
                scriptEnded = await CloseScriptAsync();
                await ending;
            }
        }
        finally
        {
            Settle();
            move?.Dispose();
            deadline?.Dispose();
            scope?.Dispose();
            if (scriptEnded)
            {
                lease.Dispose();
            }
            else
            {
                _ = UnpinWhenScriptEndsAsync();
            }
        }
    }

    /// <summary>Runs the script's own clean-up (its finally blocks). False if it does not come to an end in time.</summary>
    private async Task<bool> CloseScriptAsync()
    {
        if (script is null)
        {
            return true;
        }

        if (move!.Left is { } left)
        {
            closing = left;
            await left.WaitAsync(runner.Settings.Patience, runner.Time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!left.IsCompleted)
            {
                return false;
            }
        }

        try
        {
            closing = script.DisposeAsync().AsTask();
            await closing.WaitAsync(runner.Settings.Patience, runner.Time);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
        catch (Exception e)
        {
            // The stream is over either way; a request that went well until here is told as failed in its trace.
            failure ??= ScriptFailure.Describe(Router, e);
            return true;
        }
    }

    private async Task UnpinWhenScriptEndsAsync()
    {
        await closing!.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lease.Dispose();
    }

    private void Settle()
    {
        // Left in the middle by a caller that was not cancelled: it had what it wanted, as with a stop string.
        var finish = check?.Finish ?? (failure is null && check?.Emitted > 0 && !client.IsCancellationRequested ? FinishReason.Stop : null);
        var (outcome, error, fault) = failure switch
        {
            OperationCanceledException => (CallOutcome.Cancelled, failure.Message, RequestFault.None),
            not null => (CallOutcome.Failed, failure.Message, FaultOf(failure)),
            null when finish is null => (CallOutcome.Cancelled, "the client stopped listening", RequestFault.None),
            null => (CallOutcome.Ok, null, RequestFault.None),
        };
        if (trace.End(outcome, finish, error, fault))
        {
            runner.Ended(lease.Name, trace);
            recording?.Ended(trace);
        }
    }

    private RequestFault FaultOf(Exception failed) => failed switch
    {
        EngineException { Error: EngineError.Cancelled } when deadline!.IsCancellationRequested => RequestFault.Timeout,
        EngineException { EngineId: "" } when runner.HostStopping.IsCancellationRequested => RequestFault.Stopping,
        _ => RequestFaults.Of(failed),
    };
}
