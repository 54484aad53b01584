namespace ScriptedServe.Host.Scripts;

/// <summary>Calls the active version's PlanStrategy: at once, then at each interval, never while an earlier call still runs.</summary>
internal sealed class PlanDriver(RouterVersion version, ScriptCalls calls, TimeSpan interval, TimeSpan limit, ILogger log) : IDisposable
{
    private readonly CancellationTokenSource _stop = new();

    public void Start() => _ = Task.Run(Drive);

    /// <summary>No call begins from here on; one under way is told to stop, on another thread: the caller may hold a lock.</summary>
    public void Dispose() => _ = _stop.CancelAsync();

    private async Task Drive()
    {
        var stop = _stop.Token;
        while (!stop.IsCancellationRequested && version.TryPin())
        {
            // The pin lasts as long as the call, and no longer than its limit: a planner that hangs cannot keep the version loaded.
            Task over;
            var began = calls.Clock.GetTimestamp();
            try
            {
                over = await CallOnce(stop);
            }
            finally
            {
                version.Unpin();
            }

            try
            {
                await Task.Delay(interval, calls.Clock, stop);
                await over.WaitAsync(stop);
                Skipped((long)(calls.Clock.GetElapsedTime(began) / interval) - 1);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    /// <summary>Calls that were due while one still ran are not made up for.</summary>
    private void Skipped(long late)
    {
        if (late > 0)
        {
            version.Counts.CountPlansSkipped(late);
            log.LogWarning("{Router}: PlanStrategy took longer than its interval; {Count} calls were skipped (settings plan-interval-ms, plan-limit-ms)", version.Label, late);
        }
    }

    /// <returns>Ends when nothing of the call can run any more: after this returned, if the call was given up on.</returns>
    private async Task<Task> CallOnce(CancellationToken stop)
    {
        var over = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            var plan = version.Script.PlanStrategy!;
            await LoadedScript.Run(
                async token =>
                {
                    try
                    {
                        token.ThrowIfCancellationRequested();
                        await plan(token);
                        return true;
                    }
                    finally
                    {
                        over.SetResult();
                    }
                },
                version.Label, calls, limit, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
        }
        catch (Exception e)
        {
            version.Counts.CountPlanError();
            log.LogWarning(
                "{Router}: PlanStrategy failed: {Error}", version.Label,
                e is TimeoutException ? $"it did not end within {limit.TotalMilliseconds:0} ms (setting plan-limit-ms)" : ScriptErrors.Describe(e));
        }

        return over.Task;
    }
}
