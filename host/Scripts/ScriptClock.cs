namespace ScriptedServe.Host.Scripts;

/// <summary>
/// The clock a version sees. Its timers end with the version: a delay left pending would otherwise keep the version in memory until it is due.
/// </summary>
public sealed class ScriptClock(TimeProvider inner) : TimeProvider, IDisposable
{
    private readonly Lock _lock = new();
    private readonly HashSet<Timer> _timers = [];
    private bool _ended;

    public override TimeZoneInfo LocalTimeZone => inner.LocalTimeZone;

    public override long TimestampFrequency => inner.TimestampFrequency;

    public override long GetTimestamp() => inner.GetTimestamp();

    public override DateTimeOffset GetUtcNow() => inner.GetUtcNow();

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        lock (_lock)
        {
            // After the end a timer never fires.
            var timer = new Timer(this, _ended ? null : inner.CreateTimer(callback, state, dueTime, period));
            if (!_ended)
            {
                _timers.Add(timer);
            }

            return timer;
        }
    }

    /// <summary>Ends all timers without firing them. What waits for one waits for ever, and may be collected.</summary>
    public void Dispose()
    {
        List<Timer> left;
        lock (_lock)
        {
            _ended = true;
            left = [.. _timers];
            _timers.Clear();
        }

        left.ForEach(timer => timer.Dispose());
    }

    private sealed class Timer(ScriptClock clock, ITimer? inner) : ITimer
    {
        public bool Change(TimeSpan dueTime, TimeSpan period) => inner?.Change(dueTime, period) ?? false;

        public void Dispose()
        {
            Forget();
            inner?.Dispose();
        }

        public ValueTask DisposeAsync()
        {
            Forget();
            return inner?.DisposeAsync() ?? ValueTask.CompletedTask;
        }

        private void Forget()
        {
            lock (clock._lock)
            {
                clock._timers.Remove(this);
            }
        }
    }
}
