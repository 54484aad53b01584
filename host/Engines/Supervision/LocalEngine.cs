using System.Globalization;

namespace ScriptedServe.Host.Engines.Supervision;

/// <summary>
/// Keeps one local engine alive:
/// 1. launch; 2. tell the fleet, whose watch finds out when it answers; 3. wait for its end, kill it if it stays silent too long;
/// 4. tell the fleet why it ended; 5. wait, longer after each quick death, and go to 1; or give it up until an operator's restart.
/// </summary>
internal sealed partial class LocalEngine(
    EngineFleet fleet,
    EngineMember member,
    IEngineLauncher launcher,
    Func<int, EngineLaunch> launch,
    SupervisionSettings settings,
    TimeProvider time,
    ILogger logger) : IAsyncDisposable
{
    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource stopping = new();
    private readonly RestartPolicy policy = new(settings);
    private readonly Lock gate = new();
    private readonly Queue<string> lastLines = new();
    private TaskCompletionSource restart = NewSignal();
    private Task running = Task.CompletedTask;
    private volatile bool stayEnded;

    public EngineMember Member => member;

    public void Start() => running = RunAsync();

    public void StopRestarting() => stayEnded = true;

    /// <summary>Ends the process and starts it anew at once; also brings a given-up engine back.</summary>
    public void Restart()
    {
        lock (gate)
        {
            restart.TrySetResult();
        }
    }

    /// <summary>Ends the process: asked first, killed when its grace is over. Does not throw.</summary>
    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await running;
        stopping.Dispose();
    }

    private async Task RunAsync()
    {
        await Task.Yield();
        for (var launches = 0; !stopping.IsCancellationRequested; launches++)
        {
            member.Restarts = launches;
            var began = time.GetTimestamp();
            var reason = await RunOnceAsync(launch(launches));
            if (stayEnded || stopping.IsCancellationRequested)
            {
                return;
            }

            if (TakeRestart())
            {
                policy.Reset();
                continue;
            }

            var ranFor = time.GetElapsedTime(began);
            LogEnded(member.Id, reason);
            if (policy.Died(ranFor) is { } wait)
            {
                await Task.WhenAny(Task.Delay(wait, time, stopping.Token), restart.Task);
            }
            else
            {
                fleet.GaveUp(member, $"given up after {settings.QuickDeathsAllowed} starts that each ended within {Seconds(settings.QuickDeath)}; restart it to try again. The last: {reason}");
                await Task.WhenAny(Task.Delay(Timeout.InfiniteTimeSpan, time, stopping.Token), restart.Task);
            }

            if (TakeRestart())
            {
                policy.Reset();
            }
        }
    }

    /// <summary>Steps 1 to 4; says why the process ended.</summary>
    private async Task<string> RunOnceAsync(EngineLaunch how)
    {
        string reason;
        lock (gate)
        {
            lastLines.Clear();
        }

        try
        {
            using var process = launcher.Launch(how, Told);
            string? killedBecause;
            int code;
            try
            {
                fleet.Launched(member, $"unix:{how.Listen}", process.Id);
                killedBecause = await WatchAsync(process);
            }
            finally
            {
                code = await EndAsync(process);
            }

            reason = killedBecause ?? $"its process ended with exit code {code.ToString(CultureInfo.InvariantCulture)}{LastLines()}";
        }
        catch (Exception e) when (e is EngineStartException or FormatException)
        {
            reason = e.Message;
        }

        await fleet.ExitedAsync(member, reason);
        return reason;
    }

    /// <summary>Returns when the process has ended (null), or why it is to be ended.</summary>
    private async Task<string?> WatchAsync(IEngineProcess process)
    {
        Task restarting;
        lock (gate)
        {
            restarting = restart.Task;
        }

        while (true)
        {
            var glance = Task.Delay(Glance, time, stopping.Token);
            await Task.WhenAny(process.Exited, restarting, glance);
            if (process.Exited.IsCompleted)
            {
                return null;
            }

            if (stopping.IsCancellationRequested)
            {
                return "the host is stopping";
            }

            if (restarting.IsCompleted)
            {
                return "an operator restarted it";
            }

            if (member.State is EngineState.Starting or EngineState.Lost && time.GetUtcNow() - member.Since > settings.AnswerTimeout)
            {
                return $"it did not answer for {Seconds(settings.AnswerTimeout)} (--engine-start-timeout) and was killed{LastLines()}";
            }
        }
    }

    private async Task<int> EndAsync(IEngineProcess process)
    {
        process.Terminate();
        await ((Task)process.Exited).WaitAsync(settings.StopGrace, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        process.Kill();
        return await process.Exited;
    }

    private bool TakeRestart()
    {
        lock (gate)
        {
            if (!restart.Task.IsCompleted)
            {
                return false;
            }

            restart = NewSignal();
            return true;
        }
    }

    private void Told(string line)
    {
        lock (gate)
        {
            if (lastLines.Count == 5)
            {
                lastLines.Dequeue();
            }

            lastLines.Enqueue(line);
        }

        LogLine(member.Id, line);
    }

    private string LastLines()
    {
        lock (gate)
        {
            return lastLines.Count == 0 ? "" : $"; it last wrote: {string.Join(" | ", lastLines)}";
        }
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private static string Seconds(TimeSpan span) => string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds:0.#} s");

    [LoggerMessage(EventId = 1, Level = LogLevel.Information, Message = "[{Engine}] {Line}")]
    private partial void LogLine(string engine, string line);

    [LoggerMessage(EventId = 2, Level = LogLevel.Error, Message = "engine {Engine} ended: {Reason}")]
    private partial void LogEnded(string engine, string reason);
}
