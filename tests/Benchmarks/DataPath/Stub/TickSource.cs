using System.Collections.Concurrent;

namespace ScriptedServe.DataPathBenchmarks.Stub;

/// <summary>Ticks that all streams of one pace share, as the sequences of an engine share its steps.</summary>
internal sealed class TickSource(TimeProvider time) : IDisposable
{
    private readonly ConcurrentDictionary<int, Pace> _paces = new();

    /// <summary>Completes at the next tick of the pace; at once, but never synchronously, where that is 0.</summary>
    public async ValueTask NextAsync(int paceMs, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (paceMs == 0)
        {
            await Task.Yield();
            return;
        }

        await _paces.GetOrAdd(paceMs, static (ms, clock) => new Pace(ms, clock), time).Next;
    }

    public void Dispose()
    {
        foreach (var pace in _paces.Values)
        {
            pace.Dispose();
        }
    }

    private sealed class Pace : IDisposable
    {
        private readonly ITimer _timer;
        private volatile TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Pace(int ms, TimeProvider time) => _timer = time.CreateTimer(
            static pace => ((Pace)pace!).Tick(), this, TimeSpan.FromMilliseconds(ms), TimeSpan.FromMilliseconds(ms));

        public Task Next => _next.Task;

        public void Dispose() => _timer.Dispose();

        private void Tick()
        {
            var due = _next;
            _next = new(TaskCreationOptions.RunContinuationsAsynchronously);
            due.SetResult();
        }
    }
}
