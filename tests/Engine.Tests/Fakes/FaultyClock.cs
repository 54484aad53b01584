using Microsoft.Extensions.Time.Testing;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>A clock whose next reading or timer can be made to throw: an error where nobody expects one.</summary>
internal sealed class FaultyClock : FakeTimeProvider
{
    /// <summary>Thrown by the next reading, after <see cref="FaultIn"/> that succeed, and then forgotten.</summary>
    public Exception? Fault { get; set; }

    public int FaultIn { get; set; }

    /// <summary>Thrown by the next new timer, and then forgotten.</summary>
    public Exception? TimerFault { get; set; }

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        if (TimerFault is { } fault)
        {
            TimerFault = null;
            throw fault;
        }

        return base.CreateTimer(callback, state, dueTime, period);
    }

    public override long GetTimestamp()
    {
        if (Fault is { } fault && FaultIn-- == 0)
        {
            (Fault, FaultIn) = (null, 0);
            throw fault;
        }

        return base.GetTimestamp();
    }
}
