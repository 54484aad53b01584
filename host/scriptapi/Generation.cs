namespace ScriptedServe.Scripting;

/// <summary>
/// A generation that runs before anybody reads it: its first chunk is on the way, and no further ones until it is read. Reading it to the
/// end, leaving it, or disposing of it stops the engine; nothing leaks if a router forgets it.
/// </summary>
public sealed class Generation : IAsyncEnumerable<Chunk>, IAsyncDisposable
{
    private readonly CancellationTokenSource stop = new();
    private readonly IAsyncEnumerator<Chunk> chunks;
    private readonly Task<bool> first;
    private int isRead;
    private int isStopped;

    internal Generation(IAsyncEnumerable<Chunk> source)
    {
        chunks = source.GetAsyncEnumerator(stop.Token);
        first = chunks.MoveNextAsync().AsTask();
    }

    /// <summary>Ends when the first chunk is there; fails as the generation does.</summary>
    public Task Started => first;

    /// <summary>The first of several to have a chunk; the others are stopped.</summary>
    /// <param name="racers">At least one. They all fail: so does this, as the first of them did.</param>
    public static async Task<Generation> First(params Generation[] racers)
    {
        ArgumentOutOfRangeException.ThrowIfZero(racers.Length);
        Generation? winner = null;
        try
        {
            var running = racers.ToDictionary(Task (racer) => racer.Started);
            while (winner is null && running.Count > 0)
            {
                var ready = await Task.WhenAny(running.Keys);
                running.Remove(ready, out var racer);
                winner = ready.IsCompletedSuccessfully ? racer : null;
            }
        }
        finally
        {
            foreach (var loser in racers.Where(racer => racer != winner))
            {
                // Not awaited: nobody waits for a loser. Stopping it does not fail, and the request's end sees to what is left.
                _ = loser.Stop();
            }
        }

        await (winner ?? racers[0]).Started;
        return winner!;
    }

    /// <summary>Waits for the first chunk.</summary>
    /// <param name="limit">How long.</param>
    /// <param name="time">The clock: <c>Time</c>.</param>
    /// <returns>False if it is not there by then, or the generation failed before.</returns>
    public async Task<bool> StartsWithin(TimeSpan limit, TimeProvider time)
    {
        await ((Task)first).WaitAsync(limit, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return first.IsCompletedSuccessfully;
    }

    /// <summary>Reads it; once.</summary>
    /// <param name="cancellationToken">Stops it.</param>
    public async IAsyncEnumerator<Chunk> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        if (Interlocked.Exchange(ref isRead, 1) != 0)
        {
            throw new InvalidOperationException("A generation can be read once; begin another.");
        }

        using var left = cancellationToken.UnsafeRegister(static generation => ((Generation)generation!).Cancel(), this);
        try
        {
            for (var more = await first; more; more = await chunks.MoveNextAsync())
            {
                yield return chunks.Current;
            }
        }
        finally
        {
            await chunks.DisposeAsync();
        }
    }

    /// <summary>Stops the generation, if it has not ended.</summary>
    public ValueTask DisposeAsync() => new(Stop());

    private async Task Stop()
    {
        if (Interlocked.Exchange(ref isStopped, 1) != 0)
        {
            return;
        }

        Cancel();

        // Whoever reads it closes it.
        if (Interlocked.Exchange(ref isRead, 1) == 0)
        {
            await ((Task)first).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            try
            {
                await chunks.DisposeAsync();
            }
            catch (Exception e) when (e is EngineException or OperationCanceledException)
            {
                // It is closed either way, and nobody waits for it.
            }
        }
    }

    // The source has no timer, so it holds nothing and needs no disposal.
    private void Cancel() => stop.Cancel();
}

/// <summary>What can be done with the chunks of a generation.</summary>
public static class ChunkStreams
{
    /// <summary>Begins a generation now, before it is read: to wait for its first chunk, or to race it with another.</summary>
    /// <param name="chunks">
    /// What <see cref="Engine.StartGenerate"/> gives. An iterator of the script's own works too; stopped, it ends at its next chunk.
    /// </param>
    public static Generation Begin(this IAsyncEnumerable<Chunk> chunks)
    {
        ArgumentNullException.ThrowIfNull(chunks);
        return new Generation(chunks);
    }
}
