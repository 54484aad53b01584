namespace ScriptedServe.Engine.Compute.Synthetic;

/// <summary>
/// Lets work take a time of its own on an injected clock, by waiting on a timer. A wait shorter than the clock's tick is owed until more has come
/// together, and one that came out too long is made up for, so that it is the sum that is right. One caller at a time.
/// </summary>
internal sealed class StepPace : IDisposable
{
    /// <summary>What timers are good for.</summary>
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(1);

    /// <summary>More lateness than this was idleness, or a machine too busy to make it up.</summary>
    private static readonly TimeSpan MostLateness = TimeSpan.FromMilliseconds(10);

    private readonly TimeProvider _time;
    private readonly AutoResetEvent _due = new(initialState: false);
    private readonly ITimer _timer;
    private readonly long _start;
    private TimeSpan _busyUntil;

    public StepPace(TimeProvider time)
    {
        _time = time;
        _start = time.GetTimestamp();
        _timer = time.CreateTimer(static due => ((AutoResetEvent)due!).Set(), _due, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    private TimeSpan Now => _time.GetElapsedTime(_start);

    /// <summary>Returns when the time is over, or owes it.</summary>
    public void Spend(TimeSpan time)
    {
        if (time <= TimeSpan.Zero)
        {
            return;
        }

        var now = Now;
        _busyUntil = (now - _busyUntil > MostLateness ? now : _busyUntil) + time;
        for (var left = _busyUntil - now; left >= Tick; left = _busyUntil - Now)
        {
            _ = _timer.Change(left, Timeout.InfiniteTimeSpan);
            _ = _due.WaitOne();
        }
    }

    /// <summary>For after the last <see cref="Spend"/>: each waits for the timer it has set, so that none is left to fire.</summary>
    public void Dispose()
    {
        _timer.Dispose();
        _due.Dispose();
    }
}
