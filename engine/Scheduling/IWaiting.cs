namespace ScriptedServe.Engine.Scheduling;

/// <summary>What became of an attempt to admit.</summary>
public enum Admission
{
    Admitted,

    /// <summary>As many sequences run as may.</summary>
    NoSeat,

    /// <summary>Not enough pages now.</summary>
    NoPages,
}

/// <summary>Something that waits for pages, or a seat among the running sequences, or both: a sequence or a reservation.</summary>
public interface IWaiting
{
    string RequestId { get; }

    /// <summary>False for what needs pages alone.</summary>
    bool NeedsSeat { get; }

    /// <summary>It holds pages that others may be waiting for, so it is tried even while those before it find none.</summary>
    bool HoldsPages { get; }

    /// <summary>False while there would be no use in admitting it.</summary>
    bool IsReady { get; }

    /// <summary>It waits for its own caller, who does not read what there is: that has a bound of its own, and takes no place from others.</summary>
    bool IsPaused { get; }

    /// <summary>Prompt tokens it would have computed, for the load report.</summary>
    int QueuedTokens { get; }
}
