namespace ScriptedServe.Host.Requests;

/// <summary>Something a request holds on an engine, to be given back when the request ends.</summary>
internal interface IRequestHold
{
    /// <summary>True for a stream that may stand still because its reader went away: it is closed before running calls are waited for.</summary>
    bool IsOpenCall { get; }

    /// <summary>Gives it back. Never throws: an engine that does not answer ends the hold by its lease.</summary>
    Task EndAsync();
}

/// <summary>What becomes of a call that a script wants to make.</summary>
internal enum CallEntry
{
    LetIn,

    /// <summary>The request is over; a call would leave something behind.</summary>
    HasEnded,

    /// <summary>The request has made all the calls it may.</summary>
    TooMany,
}

/// <summary>
/// All that a request holds on engines: its running calls, open streams and unused reservations. Ending the scope
/// 1. refuses new calls, 2. cancels running ones, 3. closes streams that nobody reads, 4. waits for calls to settle,
/// 5. gives back what is held. It does so however the router ended, and by itself when the request is cancelled: a client that has
/// stopped reading but stays connected cannot hold pages past the deadline.
/// Thread-safe.
/// </summary>
internal sealed class RequestScope : IDisposable
{
    private readonly Lock gate = new();
    private readonly Dictionary<object, IRequestHold> holds = new(ReferenceEqualityComparer.Instance);
    private readonly CancellationTokenSource cancel;
    private readonly TimeProvider time;
    private readonly TimeSpan patience;
    private int calls;
    private int runningCalls;
    private TaskCompletionSource? settled;
    private Task? ending;

    /// <param name="patience">How long ending waits for running calls that do not observe their cancellation.</param>
    /// <param name="outer">Tokens whose cancellation cancels the request: the client's, the deadline's, the host's.</param>
    public RequestScope(TimeProvider time, TimeSpan patience, params CancellationToken[] outer)
    {
        this.time = time;
        this.patience = patience;
        cancel = outer.Length == 0 ? new CancellationTokenSource() : CancellationTokenSource.CreateLinkedTokenSource(outer);
        Token = cancel.Token;
        Token.UnsafeRegister(static scope => _ = ((RequestScope)scope!).EndAsync(), this);
    }

    /// <summary>Fires when the request is cancelled or its scope ends.</summary>
    public CancellationToken Token { get; }

    public bool HasEnded
    {
        get
        {
            lock (gate)
            {
                return ending is not null;
            }
        }
    }

    /// <summary>Calls that may be made in all.</summary>
    public int MostCalls { get; init; } = int.MaxValue;

    /// <summary>Registers a call that runs. Pair with <see cref="ExitCall"/> if it was let in.</summary>
    public CallEntry EnterCall()
    {
        lock (gate)
        {
            if (ending is not null)
            {
                return CallEntry.HasEnded;
            }

            if (calls >= MostCalls)
            {
                return CallEntry.TooMany;
            }

            calls++;
            runningCalls++;
            return CallEntry.LetIn;
        }
    }

    public void ExitCall()
    {
        TaskCompletionSource? last = null;
        lock (gate)
        {
            if (--runningCalls == 0)
            {
                last = settled;
            }
        }

        last?.TrySetResult();
    }

    /// <summary>Holds something until it is let go or the scope ends. Of one key the first hold counts. Allowed while a call runs, also during the ending.</summary>
    public void Hold(object key, IRequestHold hold)
    {
        lock (gate)
        {
            holds.TryAdd(key, hold);
        }
    }

    public void LetGo(object key)
    {
        lock (gate)
        {
            holds.Remove(key);
        }
    }

    /// <summary>Ends the scope; further calls await the same ending. Does not throw.</summary>
    /// <param name="onThisThread">Who registered with <see cref="Token"/> is told on this thread and not on one of the pool: nobody of them takes long.</param>
    public Task EndAsync(bool onThisThread = false)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task running;
        lock (gate)
        {
            if (ending is not null)
            {
                return ending;
            }

            ending = done.Task;
            if (runningCalls == 0)
            {
                running = Task.CompletedTask;
            }
            else
            {
                settled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                running = settled.Task;
            }
        }

        return EndCoreAsync(running, done, onThisThread);
    }

    public void Dispose() => cancel.Dispose();

    private async Task EndCoreAsync(Task running, TaskCompletionSource done, bool onThisThread)
    {
        try
        {
            await CancelAsync(onThisThread);
            await EndHolds(hold => hold.IsOpenCall);
            await running.WaitAsync(patience, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await EndHolds(static _ => true);
        }
        finally
        {
            done.TrySetResult();
        }
    }

    private async Task CancelAsync(bool onThisThread)
    {
        try
        {
            if (onThisThread)
            {
                cancel.Cancel();
            }
            else
            {
                await cancel.CancelAsync();
            }
        }
        catch (AggregateException)
        {
            // Somebody who was told failed; what is held is given back all the same.
        }
    }

    private Task EndHolds(Func<IRequestHold, bool> which)
    {
        IRequestHold[] held;
        lock (gate)
        {
            held = [.. holds.Values.Where(which)];
        }

        return Task.WhenAll(held.Select(hold => hold.EndAsync()));
    }
}
