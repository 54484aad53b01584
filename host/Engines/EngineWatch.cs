using ScriptedServe.Contracts;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>Hears what a watch learns of one engine.</summary>
internal interface IEngineWatchListener
{
    /// <param name="first">The first status of a stream: its cache events are all the cache holds.</param>
    void Reported(Wire.EngineStatus status, bool first);

    void ConnectionLost(string reason);
}

/// <summary>
/// Keeps an engine's status stream alive: reads it, asks directly when it is silent for long, and opens it anew with growing waits when it
/// breaks. Runs until cancelled.
/// </summary>
internal sealed class EngineWatch(IEngineApi api, FleetSettings settings, TimeProvider time, IEngineWatchListener listener)
{
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var wait = settings.ReconnectFirst;
        while (!cancellationToken.IsCancellationRequested)
        {
            var heard = false;
            string reason;
            try
            {
                reason = await ReadAsync(() => heard = true, cancellationToken);
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // Whatever an engine sends, its watch goes on.
                reason = e is RpcException ? e.Message : $"its status could not be taken in: {e.Message}";
            }

            listener.ConnectionLost(reason);
            wait = heard ? settings.ReconnectFirst : wait;
            await Task.Delay(wait, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            wait = wait * 2 < settings.ReconnectLongest ? wait * 2 : settings.ReconnectLongest;
        }
    }

    /// <summary>Reads one stream to its end, and says why it ended.</summary>
    private async Task<string> ReadAsync(Action heard, CancellationToken cancellationToken)
    {
        using var stream = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var request = new Wire.WatchStatusRequest { MinIntervalMs = (uint)settings.StatusInterval.TotalMilliseconds };
        var statuses = api.WatchStatusAsync(request, stream.Token).GetAsyncEnumerator(stream.Token);
        var next = Task.FromResult(false);
        try
        {
            for (var first = true; ; first = false)
            {
                next = statuses.MoveNextAsync().AsTask();
                while (!await AnsweredAsync(next, settings.StatusSilence))
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    if (await ProbeAsync(cancellationToken) is { } silent)
                    {
                        return silent;
                    }
                }

                if (!await next)
                {
                    return "it ended its status stream";
                }

                heard();
                listener.Reported(statuses.Current, first);
            }
        }
        finally
        {
            await stream.CancelAsync();
            await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await statuses.DisposeAsync();
        }
    }

    private async Task<bool> AnsweredAsync(Task task, TimeSpan within)
    {
        await task.WaitAsync(within, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return task.IsCompleted;
    }

    /// <summary>Null if the engine answers; else why it counts as lost.</summary>
    private async Task<string?> ProbeAsync(CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(settings.ControlTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        try
        {
            listener.Reported(await api.GetStatusAsync(new Wire.GetStatusRequest(), either.Token), first: false);
            return null;
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return e is RpcException ? e.Message : $"silent for {settings.StatusSilence.TotalSeconds:0.#} s and no answer to GetStatus within {settings.ControlTimeout.TotalSeconds:0.#} s";
        }
    }
}
