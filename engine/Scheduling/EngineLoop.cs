namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// Drives a core on a thread of its own: steps while there is work, else waits for a command or a timer. A step that throws ends all work, each call
/// with INTERNAL, and is told by <see cref="Failed"/>; the loop goes on, so that these calls are answered, until another step throws.
/// </summary>
public sealed class EngineLoop : IDisposable
{
    private readonly EngineCore _core;
    private readonly AutoResetEvent _wake = new(initialState: true);
    private readonly Thread _thread;
    private readonly TaskCompletionSource<Exception> _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private volatile bool _stopping;
    private bool _disposed;

    public EngineLoop(EngineCore core)
    {
        _core = core;
        core.Commands.OnPost(Wake);
        _thread = new Thread(Run) { Name = "engine", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Completes when a step has thrown, with what it threw: the engine serves nothing any more and is to be ended.</summary>
    public Task<Exception> Failed => _failed.Task;

    /// <summary>Stops after the step under way. What is still in the core stays there: shut the core down before.</summary>
    public void Dispose()
    {
        _stopping = true;
        Wake();
        _thread.Join();
        _core.Commands.OnPost(() => { });
        lock (_gate)
        {
            _disposed = true;
            _wake.Dispose();
        }
    }

    private void Wake()
    {
        // A timer or a caller may have asked for this before the loop's end, and be here only after it.
        lock (_gate)
        {
            if (!_disposed)
            {
                _ = _wake.Set();
            }
        }
    }

    private void Run()
    {
        while (!_stopping)
        {
            try
            {
                if (!_core.Step())
                {
                    _ = _wake.WaitOne();
                }
            }
            catch (Exception e)
            {
                if (!TryEndWork(e))
                {
                    return;
                }
            }
        }
    }

    /// <returns>False if there is nothing to be saved: a step failed before, or the work cannot be ended.</returns>
    private bool TryEndWork(Exception cause)
    {
        if (!_failed.TrySetResult(cause))
        {
            return false;
        }

        try
        {
            _core.Fail(cause);
            return true;
        }
        catch (Exception)
        {
            // The first failure is the one to tell.
            return false;
        }
    }
}
