using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// Owns the sequences from their acceptance until they hold nothing. However one ends, (1) it leaves the queue and the running ones, (2) nobody reads its pages
/// any more, (3) what was computed is cached and its pages are let go, (4) its caller is answered. The core's thread alone touches it.
/// </summary>
/// <param name="layers">Of the model.</param>
/// <param name="post">Runs an action on the core's thread, after what was posted before.</param>
internal sealed class SequenceTable(WaitingQueue waiting, RunningSet running, int layers, Action<Action> post, ReplyQueue replies)
{
    private readonly List<Sequence> _live = [];
    private long _lastArrival;

    public IReadOnlyList<Sequence> Live => _live;

    public void Accept(Sequence sequence)
    {
        sequence.Arrival = ++_lastArrival;
        _live.Add(sequence);
    }

    /// <summary>Queues a sequence for pages and a seat, or for those of the reservation that it takes over.</summary>
    public void Enqueue(Sequence sequence, SequenceState state = SequenceState.Waiting)
    {
        sequence.State = state;
        waiting.Enqueue(sequence);
    }

    /// <summary>What becomes of the pages of a reservation that a queued generation takes over.</summary>
    /// <param name="blocks">Null: they cannot be had.</param>
    public void Inherit(GenerateSequence sequence, BlockTable? blocks)
    {
        if (blocks is null)
        {
            End(sequence, new RpcException(RpcStatus.Internal, "The pages of its reservation cannot be taken back from their senders"), null);
        }
        else if (sequence.State == SequenceState.Ended)
        {
            blocks.Release();
        }
        else
        {
            (sequence.Blocks, sequence.State) = (blocks, SequenceState.Waiting);
        }
    }

    /// <summary>Ends a generation, or does nothing if it has ended.</summary>
    /// <param name="error">Null if it ends well.</param>
    /// <param name="last">Null if there is nothing more to tell.</param>
    public void End(GenerateSequence sequence, RpcException? error, GenerateChunk? last)
    {
        if (sequence.State == SequenceState.Ended)
        {
            return;
        }

        _ = waiting.Remove(sequence);
        if (running.Remove(sequence))
        {
            sequence.Blocks.Publish(sequence.Tokens.Span[..sequence.Computed], withTail: true);
        }

        Close(sequence);
        replies.Add(() =>
        {
            if (last is not null)
            {
                sequence.Output.Write(last);
            }

            sequence.Output.Complete(error);
        });
    }

    /// <summary>Stops a send; it ends when its session is closed. Does nothing if it has ended.</summary>
    public void End(SendSequence sequence, Exception error)
    {
        if (sequence.State == SequenceState.Ended)
        {
            return;
        }

        _ = waiting.Remove(sequence);
        sequence.Fail(error);
        if (sequence.State != SequenceState.Finishing)
        {
            Finish(sequence);
        }
    }

    /// <summary>Sends that have all their KV, computed or cached, wait for the acknowledgement off the running set.</summary>
    /// <returns>True if any gave up its seat.</returns>
    public bool FinishComputedSends()
    {
        var any = false;
        for (var index = running.Count - 1; index >= 0; index--)
        {
            if (running[index] is not SendSequence send || (send.Computed < send.Goal && send.Error is null))
            {
                continue;
            }

            // Only what was all cached has anything left to queue here.
            for (var layer = 0; layer < layers; layer++)
            {
                send.SendLayer(layer, send.Computed);
            }

            send.MarkPrefilled();
            Finish(send);
            any = true;
        }

        return any;
    }

    private void Finish(SendSequence sequence)
    {
        running.Remove(sequence);
        sequence.State = SequenceState.Finishing;
        var finished = sequence.FinishAsync();
        if (finished.IsCompleted)
        {
            OnFinished(sequence);
        }
        else
        {
            _ = AwaitFinishAsync(sequence, finished);
        }
    }

    private async Task AwaitFinishAsync(SendSequence sequence, Task finished)
    {
        await finished;
        post(() => OnFinished(sequence));
    }

    private void OnFinished(SendSequence sequence)
    {
        sequence.Blocks.Publish(sequence.Tokens.Span[..sequence.Computed], withTail: true);
        Close(sequence);
        replies.Add(sequence.Answer);
    }

    private void Close(Sequence sequence)
    {
        sequence.Blocks.Release();
        sequence.State = SequenceState.Ended;
        _ = _live.Remove(sequence);
        replies.Add(() => sequence.Closed.TrySetResult());
    }
}
