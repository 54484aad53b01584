namespace ScriptedServe.Host.Engines;

/// <summary>An engine changed its state.</summary>
/// <param name="Reason">Why, where that is not evident.</param>
public sealed record FleetEvent(DateTimeOffset Time, string Engine, EngineState From, EngineState To, string? Reason);

/// <summary>What <c>/admin/engines</c> refuses, and why.</summary>
public sealed class FleetException(FleetProblem problem, string message) : Exception(message)
{
    public FleetProblem Problem { get; } = problem;
}

public enum FleetProblem
{
    NoSuchEngine,
    AlreadyThere,
    Mismatch,
    Unreachable,
    BadAddress,

    /// <summary>The cluster's secret, which engines on other machines ask for, cannot be read or is too short.</summary>
    BadSecret,

    NotPossible,
}
