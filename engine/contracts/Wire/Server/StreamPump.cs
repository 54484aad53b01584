namespace ScriptedServe.Contracts.Wire.Server;

/// <summary>Writes a stream to a transport so that each item leaves at once, and items that come back to back share packets.</summary>
public static class StreamPump
{
    /// <summary>
    /// Writes items as they come and flushes whenever the next one is not ready, or when <paramref name="write"/> says that enough
    /// has gathered. Items are asked for only while the transport takes what was written; the source must not compute for long
    /// before MoveNextAsync returns. The source's enumerator is always disposed, and its token cancelled first if flushing failed.
    /// The last items may be left unflushed.
    /// </summary>
    /// <param name="source">Makes the stream; gets the token that stops it.</param>
    /// <param name="write">Writes without flushing; true asks for a flush now.</param>
    /// <param name="flush">Called also when nothing new was written.</param>
    /// <param name="cancellationToken">Passed to source and flush.</param>
    public static async Task PumpAsync<T>(
        Func<CancellationToken, IAsyncEnumerable<T>> source, Func<T, bool> write, Func<CancellationToken, ValueTask> flush, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using var items = source(stop.Token).GetAsyncEnumerator(stop.Token);
        var isFull = false;
        while (true)
        {
            var next = items.MoveNextAsync();
            if (isFull || !next.IsCompleted)
            {
                try
                {
                    await flush(cancellationToken);
                }
                catch
                {
                    // An enumerator may not be disposed while it moves.
                    await stop.CancelAsync();
                    await IgnoreAsync(next);
                    throw;
                }
            }

            if (!await next)
            {
                return;
            }

            isFull = write(items.Current);
        }
    }

    private static async Task IgnoreAsync(ValueTask<bool> task)
    {
        try
        {
            await task;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The error that ended the stream is the one that counts.
        }
    }
}
