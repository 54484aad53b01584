namespace ScriptedServe.KvTransport;

/// <summary>The side of an engine that takes KV in: it grants pages to senders and takes them back. Thread-safe.</summary>
public interface IKvReceiver : IAsyncDisposable
{
    /// <summary>
    /// Lets senders write pages until the grant is revoked or all of its range has arrived. The pages stay the caller's to free, but neither to use nor to
    /// give to anyone else before <see cref="IKvGrant.RevokeAsync"/> has completed (to use: before the arrival).
    /// </summary>
    /// <param name="reservationId">Names the grant in messages; at most 1024 bytes.</param>
    /// <param name="pages">The pages that [begin, end) touches, in order: page i holds positions from (begin / pageTokens + i) * pageTokens on. Copied.</param>
    /// <param name="begin">First token position; need not be a page's first.</param>
    /// <param name="end">Exclusive. With <paramref name="begin"/> = end the grant has arrived at once.</param>
    /// <param name="arrived">
    /// Called once, on any thread, when all of [begin, end) is in the pages and nobody writes them any more, and before the sender that brought the last part is
    /// told so. It must be short, must not throw, and must not wait for <see cref="IKvGrant.RevokeAsync"/>. Not called after that has completed.
    /// </param>
    /// <exception cref="ArgumentException">Pages that do not fit the range, occur twice, or are not in the pool.</exception>
    /// <exception cref="KvTransportException">
    /// <see cref="KvFault.Busy"/>: as many grants as the pool has slots for. <see cref="KvFault.Scattered"/>: the pages do not fit an address.
    /// </exception>
    IKvGrant Grant(string reservationId, ReadOnlySpan<int> pages, int begin, int end, Action<IKvGrant>? arrived = null);
}

/// <summary>Pages that senders may write. Thread-safe.</summary>
public interface IKvGrant
{
    string ReservationId { get; }

    /// <summary>What a sender needs; opaque to everyone else.</summary>
    ReadOnlyMemory<byte> Address { get; }

    int Begin { get; }

    int End { get; }

    /// <summary>True once all of [begin, end) has arrived; it stays so after a revoke.</summary>
    bool HasArrived { get; }

    /// <summary>Tokens that senders have committed.</summary>
    int ArrivedTokens { get; }

    /// <summary>Completes when all has arrived; is cancelled if the grant is revoked before. Continuations run after the <c>arrived</c> callback.</summary>
    Task Arrival { get; }

    /// <summary>Sending sessions open now.</summary>
    int Sessions { get; }

    /// <summary>When a sender last opened, committed, or wrote over a stream: <see cref="TimeProvider.GetTimestamp"/> of the endpoint's provider; at first the time of the grant.</summary>
    long LastUsed { get; }

    /// <summary>Counts what senders of this machine wrote; they tell nobody when. Who finds it the same twice knows that none wrote between.</summary>
    long SharedWrites { get; }

    /// <summary>
    /// Ends the grant: from now on no sender begins to write. Completes when those that are within a copy have left or died; from then on the pages are the
    /// caller's alone. Every call returns the same task. It fails with <see cref="ObjectDisposedException"/> only if the endpoint is disposed while a sender still writes.
    /// </summary>
    Task RevokeAsync();
}
