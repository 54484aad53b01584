using Microsoft.Extensions.Time.Testing;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>A clock whose next reading can be made to throw: an error where nobody expects one.</summary>
internal sealed class FaultyClock : FakeTimeProvider
{
    /// <summary>Thrown by the next reading, and then forgotten.</summary>
    public Exception? Fault { get; set; }

    public override long GetTimestamp()
    {
        if (Fault is { } fault)
        {
            Fault = null;
            throw fault;
        }

        return base.GetTimestamp();
    }
}
