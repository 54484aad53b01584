using System.Runtime.CompilerServices;
using System.Threading.Tasks.Sources;

namespace ScriptedServe.Host.Requests;

/// <summary>
/// Awaits the moves of a script's stream, one after the other, without holding up a request that is cancelled: the wait then ends at once, and the
/// move is left to <see cref="Left"/>. One object a request, and nothing allocated a move.
/// </summary>
internal sealed class ScriptMove : IValueTaskSource<bool>, IDisposable
{
    private const int None = 0;
    private const int Waiting = 1;
    private const int Abandoned = 2;

    private readonly CancellationToken cancelled;
    private readonly CancellationTokenRegistration registration;
    private readonly Action moved;
    private readonly TaskCompletionSource left = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ManualResetValueTaskSourceCore<bool> wait;
    private ValueTaskAwaiter<bool> move;
    private int state;

    public ScriptMove(CancellationToken cancelled)
    {
        this.cancelled = cancelled;
        moved = Moved;
        registration = cancelled.UnsafeRegister(static source => ((ScriptMove)source!).Cancel(), this);
    }

    /// <summary>Completes when a move that was not waited for has ended; null if there is none.</summary>
    public Task? Left => Volatile.Read(ref state) == Abandoned ? left.Task : null;

    /// <summary>The move's result, or <see cref="OperationCanceledException"/> if the request is cancelled before.</summary>
    public ValueTask<bool> WaitAsync(ValueTask<bool> next)
    {
        if (next.IsCompleted)
        {
            return next;
        }

        wait.Reset();
        move = next.GetAwaiter();
        Volatile.Write(ref state, Waiting);
        var waiting = new ValueTask<bool>(this, wait.Version);
        move.UnsafeOnCompleted(moved);

        // The registration may have fired before there was anything to cancel.
        if (cancelled.IsCancellationRequested)
        {
            Cancel();
        }

        return waiting;
    }

    public void Dispose() => registration.Dispose();

    bool IValueTaskSource<bool>.GetResult(short token) => wait.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<bool>.GetStatus(short token) => wait.GetStatus(token);

    void IValueTaskSource<bool>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        wait.OnCompleted(continuation, state, token, flags);

    private void Moved()
    {
        var isWaitedFor = Interlocked.CompareExchange(ref state, None, Waiting) == Waiting;
        bool hasChunk;
        try
        {
            hasChunk = move.GetResult();
        }
        catch (Exception e)
        {
            if (isWaitedFor)
            {
                wait.SetException(e);
            }
            else
            {
                left.SetResult();
            }

            return;
        }

        if (isWaitedFor)
        {
            wait.SetResult(hasChunk);
        }
        else
        {
            left.SetResult();
        }
    }

    private void Cancel()
    {
        if (Interlocked.CompareExchange(ref state, Abandoned, Waiting) == Waiting)
        {
            // Not on the thread that cancels, which has others to tell.
            ThreadPool.UnsafeQueueUserWorkItem(
                static source => source.wait.SetException(new OperationCanceledException(source.cancelled)), this, preferLocal: false);
        }
    }
}
