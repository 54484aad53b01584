namespace ScriptedServe.Host.Scripts;

/// <summary>Where a router version stands.</summary>
public enum RouterPhase
{
    /// <summary>Being compiled and loaded.</summary>
    Compiling,

    /// <summary>It did not compile, or its OnLoad failed. Final.</summary>
    Rejected,

    /// <summary>Ready; serves requests that name it.</summary>
    Loaded,

    /// <summary>Serves the requests of its name.</summary>
    Active,

    /// <summary>Takes no new requests; those it has go on.</summary>
    Draining,

    /// <summary>Its load context is given up. Final.</summary>
    Unloaded,
}

/// <summary>What happens to a router version.</summary>
public enum RouterStep
{
    /// <summary>It compiled and its OnLoad ended well.</summary>
    Load,

    /// <summary>It did not.</summary>
    Reject,

    /// <summary>It becomes the one that serves its name.</summary>
    Activate,

    /// <summary>Another version took its place.</summary>
    Supersede,

    /// <summary>It is given up: deleted, or older than what is kept.</summary>
    Retire,

    /// <summary>Its last request ended.</summary>
    Unload,
}

/// <summary>The life of a router version, as a pure function. <see cref="RouterCatalog"/> drives it.</summary>
public static class RouterLifecycle
{
    public static bool CanStep(RouterPhase phase, RouterStep step) => Next(phase, step) is not null;

    /// <summary>The phase after a step, or null if the step is not possible in this phase.</summary>
    public static RouterPhase? Next(RouterPhase phase, RouterStep step) => (phase, step) switch
    {
        (RouterPhase.Compiling, RouterStep.Load) => RouterPhase.Loaded,
        (RouterPhase.Compiling, RouterStep.Reject) => RouterPhase.Rejected,
        (RouterPhase.Loaded, RouterStep.Activate) => RouterPhase.Active,
        (RouterPhase.Active, RouterStep.Supersede) => RouterPhase.Loaded,
        (RouterPhase.Loaded or RouterPhase.Active, RouterStep.Retire) => RouterPhase.Draining,
        (RouterPhase.Draining, RouterStep.Unload) => RouterPhase.Unloaded,
        _ => null,
    };
}
