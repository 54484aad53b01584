namespace ScriptedServe.KvTransport;

/// <summary>The side of an engine that gives KV out. Thread-safe.</summary>
public interface IKvSender : IAsyncDisposable
{
    /// <summary>Begins to send to the pages that an address names.</summary>
    /// <exception cref="KvAddressException">The address is malformed, forged, or of another layout; nothing was connected.</exception>
    /// <exception cref="KvTransportException">The engine cannot be reached or refuses: Unreachable, Ended, WrongEpoch, Busy ...</exception>
    Task<IKvSendSession> OpenAsync(ReadOnlyMemory<byte> address, CancellationToken cancellationToken);
}

/// <summary>
/// One sender's part in filling a grant. Queue layers with <see cref="Send"/> as they are computed, then <see cref="CommitAsync"/>. Disposing before the commit has
/// returned abandons the rest and leaves nothing behind on either side. Thread-safe, though ranges are written in the order in which they were queued.
/// </summary>
public interface IKvSendSession : IAsyncDisposable
{
    /// <summary>"shm" or "tcp".</summary>
    string Transport { get; }

    /// <summary>The reservation that the address names, as it was granted.</summary>
    string ReservationId { get; }

    /// <summary>The address's range: [Begin, End).</summary>
    int Begin { get; }

    int End { get; }

    /// <summary>Bytes of KV written so far. What had already arrived by another sender is not written again and not counted.</summary>
    long BytesSent { get; }

    /// <summary>Why the session can no longer send, or null. <see cref="CommitAsync"/> throws it; a long computation may look here and stop early.</summary>
    KvTransportException? Failure { get; }

    /// <summary>
    /// Queues one layer of [begin, end) and returns at once; the pages are read later, on another thread. They must stay as they are until a commit that covers
    /// them has returned, or the session is disposed.
    /// </summary>
    /// <param name="pages">The sequence's block table: page i of the local pool holds positions [i*pageTokens, (i+1)*pageTokens). Covers <paramref name="end"/>. Copied.</param>
    /// <exception cref="ArgumentException">A layer, page or range outside the pool, the block table or the address.</exception>
    void Send(int layer, ReadOnlySpan<int> pages, int begin, int end);

    /// <summary>Returns when the receiver has acknowledged that [begin, end) is all there. If cancelled, the range may or may not count.</summary>
    /// <exception cref="InvalidOperationException">A layer of [begin, end) was not sent in this session.</exception>
    /// <exception cref="KvTransportException">The transfer failed.</exception>
    Task CommitAsync(int begin, int end, CancellationToken cancellationToken);
}
