namespace ScriptedServe.Engine.Reservations;

/// <summary>Where a reservation stands.</summary>
public enum ReservationState
{
    /// <summary>In the queue for pages.</summary>
    Waiting,

    /// <summary>Has pages; senders may write those whose KV is missing.</summary>
    Open,

    /// <summary>All KV of its range is here, matchable, and nobody writes its pages.</summary>
    Arrived,

    /// <summary>Its grant is being revoked; its pages are nobody else's until that is done.</summary>
    Closing,

    /// <summary>Its pages went back, or on to a generation.</summary>
    Ended,
}

/// <summary>What happens to a reservation.</summary>
public enum ReservationEvent
{
    /// <summary>It got its pages, and some KV is missing.</summary>
    Granted,

    /// <summary>It got its pages, and all of their KV was cached.</summary>
    FullyMatched,

    /// <summary>The last of the missing KV arrived.</summary>
    KvArrived,

    /// <summary>Used by a generation, released, aborted, expired, or the engine shuts down.</summary>
    End,

    /// <summary>No sender can write any more.</summary>
    Revoked,
}

public static class ReservationStates
{
    /// <exception cref="InvalidOperationException">The event cannot happen in this state.</exception>
    public static ReservationState Next(this ReservationState state, ReservationEvent happened) => (state, happened) switch
    {
        (ReservationState.Waiting, ReservationEvent.Granted) => ReservationState.Open,
        (ReservationState.Waiting, ReservationEvent.FullyMatched) => ReservationState.Arrived,
        (ReservationState.Waiting, ReservationEvent.End) => ReservationState.Ended,
        (ReservationState.Open, ReservationEvent.KvArrived) => ReservationState.Arrived,
        (ReservationState.Open or ReservationState.Arrived, ReservationEvent.End) => ReservationState.Closing,
        (ReservationState.Closing, ReservationEvent.Revoked) => ReservationState.Ended,

        // What is ending goes on ending, and news of it that was under way no longer counts.
        (ReservationState.Closing or ReservationState.Ended, ReservationEvent.End or ReservationEvent.KvArrived) => state,
        _ => throw new InvalidOperationException($"A reservation cannot meet {happened} in state {state}"),
    };
}
