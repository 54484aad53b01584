namespace ScriptedServe.Host.Engines;

/// <summary>Where an engine of the fleet is in its life, as the host sees it.</summary>
public enum EngineState
{
    /// <summary>Started or attached, and has not answered yet.</summary>
    Starting,

    /// <summary>Answers and admits calls. The only state in which routers see it.</summary>
    Serving,

    /// <summary>Finishes what runs and admits nothing.</summary>
    Draining,

    /// <summary>Does not answer, or its process ended; it is being restarted or reconnected.</summary>
    Lost,

    /// <summary>Given up: it dies at once each time, or serves another model. An operator's restart tries again.</summary>
    Failed,

    /// <summary>Left the fleet. Final.</summary>
    Stopped,
}

/// <summary>What can happen to an engine.</summary>
public enum EngineEvent
{
    /// <summary>Its process was started, or a new epoch was seen at its address.</summary>
    Launched,

    /// <summary>A status arrived that says it serves.</summary>
    ReportedServing,

    /// <summary>A status arrived that says it drains.</summary>
    ReportedDraining,

    /// <summary>The operator asked to drain it.</summary>
    DrainRequested,

    /// <summary>Its status stream broke or went silent.</summary>
    ConnectionLost,

    /// <summary>Its process ended.</summary>
    ProcessExited,

    /// <summary>It will not be tried again by itself.</summary>
    GaveUp,

    /// <summary>It leaves the fleet.</summary>
    Detached,
}

/// <summary>The state machine of an engine's life: pure, so that it can be read and tested as a table.</summary>
public static class EngineLifecycle
{
    /// <summary>The state after an event; the same state where the event means nothing.</summary>
    public static EngineState Next(EngineState state, EngineEvent happened) => (state, happened) switch
    {
        (EngineState.Stopped, _) => EngineState.Stopped,
        (_, EngineEvent.Detached) => EngineState.Stopped,
        (_, EngineEvent.GaveUp) => EngineState.Failed,
        (_, EngineEvent.Launched) => EngineState.Starting,

        // A failed engine may still answer (one with another model does): only a launch brings it back.
        (EngineState.Failed, _) => EngineState.Failed,

        (_, EngineEvent.ProcessExited) => EngineState.Lost,

        // Not reached yet is not lost: an attached engine may come up after the host.
        (EngineState.Starting, EngineEvent.ConnectionLost) => EngineState.Starting,
        (_, EngineEvent.ConnectionLost) => EngineState.Lost,

        (EngineState.Serving, EngineEvent.DrainRequested) => EngineState.Draining,
        (EngineState.Starting or EngineState.Lost, EngineEvent.DrainRequested) => state,

        // Draining ends with a launch alone: a status sent before the drain took effect must not undo it.
        (EngineState.Draining, _) => EngineState.Draining,
        (_, EngineEvent.ReportedServing) => EngineState.Serving,
        (_, EngineEvent.ReportedDraining) => EngineState.Draining,
        _ => state,
    };
}
