namespace ScriptedServe.Engine.Scheduling;

/// <summary>Drives a core on a thread of its own: steps while there is work, else waits for a command or a timer.</summary>
public sealed class EngineLoop : IDisposable
{
    private readonly EngineCore _core;
    private readonly AutoResetEvent _wake = new(initialState: true);
    private readonly Thread _thread;
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
            if (!_core.Step())
            {
                _ = _wake.WaitOne();
            }
        }
    }
}
