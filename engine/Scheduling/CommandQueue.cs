using System.Collections.Concurrent;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>The one way into the engine core from other threads: what is posted runs on the core's thread before its next step, in order.</summary>
public sealed class CommandQueue
{
    private readonly ConcurrentQueue<Action> _commands = new();
    private Action? _wake;

    /// <summary>Called after each post, on the poster's thread, so that a driver can wake up.</summary>
    public void OnPost(Action wake) => _wake = wake;

    public void Post(Action command)
    {
        _commands.Enqueue(command);
        _wake?.Invoke();
    }

    /// <summary>Has the core look around again.</summary>
    public void Wake() => _wake?.Invoke();

    /// <summary>Runs what has been posted; for the core's thread only.</summary>
    /// <returns>True if anything ran.</returns>
    internal bool Drain()
    {
        var any = false;
        while (_commands.TryDequeue(out var command))
        {
            command();
            any = true;
        }

        return any;
    }
}
