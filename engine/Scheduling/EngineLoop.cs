namespace ScriptedServe.Engine.Scheduling;

/// <summary>Drives a core on a thread of its own: steps while there is work, else waits for a command or a timer.</summary>
public sealed class EngineLoop : IDisposable
{
    private readonly EngineCore _core;
    private readonly AutoResetEvent _wake = new(initialState: true);
    private readonly Thread _thread;
    private volatile bool _stopping;

    public EngineLoop(EngineCore core)
    {
        _core = core;
        core.Commands.OnPost(() => _wake.Set());
        _thread = new Thread(Run) { Name = "engine", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Stops after the step under way. What is still in the core stays there: shut the core down before.</summary>
    public void Dispose()
    {
        _stopping = true;
        _wake.Set();
        _thread.Join();
        _core.Commands.OnPost(() => { });
        _wake.Dispose();
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
