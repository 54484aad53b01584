using ScriptedServe.Engine.Kv;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>Where a sequence stands.</summary>
public enum SequenceState
{
    /// <summary>In the queue, and cannot be admitted yet: its reservation's grant is being closed.</summary>
    Taking,

    /// <summary>In the queue, for the first time or after a preemption.</summary>
    Waiting,

    /// <summary>Has pages and a seat.</summary>
    Running,

    /// <summary>Computed; what it sent is being acknowledged, or its sending is being stopped. Has pages, no seat.</summary>
    Finishing,

    /// <summary>Has nothing.</summary>
    Ended,
}

/// <summary>Tokens whose KV is being computed on this engine, for a generation or to be sent. The core's thread alone touches it.</summary>
public abstract class Sequence(string requestId, ReadOnlySpan<int> tokens, BlockTable blocks, TimeProvider time) : IWaiting
{
    private readonly long _submitted = time.GetTimestamp();

    public string RequestId { get; } = requestId;

    /// <summary>Rank by age; a preempted sequence keeps it.</summary>
    public long Arrival { get; internal set; }

    public SequenceState State { get; internal set; }

    public TokenBuffer Tokens { get; } = new(tokens);

    public BlockTable Blocks { get; internal set; } = blocks;

    /// <summary>Leading tokens whose KV is in <see cref="Blocks"/>.</summary>
    public int Computed { get; internal set; }

    /// <summary>Tokens after these that steps under way compute.</summary>
    public int UnderWay { get; internal set; }

    /// <summary>Leading tokens whose KV is there or being computed: where the next step goes on.</summary>
    public int Begun => Computed + UnderWay;

    /// <summary>Leading tokens whose KV is wanted now. A token that a step under way chooses is one of them.</summary>
    public abstract int Goal { get; }

    public int Remaining => Goal - Begun;

    /// <summary>Tokens given to this sequence in the step being planned.</summary>
    public int Planned { get; internal set; }

    /// <summary>Tokens found here when it was first admitted: cached or received.</summary>
    public int? CachedTokens { get; internal set; }

    public int Preemptions { get; internal set; }

    /// <summary>Timestamp of the first plan that found it running and not ready; null while it is ready.</summary>
    internal long? PausedSince { get; set; }

    /// <summary>Tokens of KV it brings along from a reservation; 0 without one.</summary>
    public int Received { get; internal set; }

    public bool HoldsPages => Received > 0 || Blocks.Count > 0;

    public bool NeedsSeat => true;

    public virtual bool IsPaused => false;

    public bool IsReady => !IsPaused && State != SequenceState.Taking;

    /// <summary>What comes next depends on what steps under way will turn out to have chosen.</summary>
    public virtual bool AwaitsOutcome => false;

    public int QueuedTokens => State == SequenceState.Running ? (Remaining > 1 || !WantsLogits ? Remaining : 0) : Math.Max(0, Goal - Received);

    /// <summary>May be taken from the running ones and computed again later.</summary>
    public abstract bool CanPreempt { get; }

    /// <summary>The most leading tokens that may be taken from the cache.</summary>
    public abstract int MatchLimit { get; }

    /// <summary>The step's logits are wanted if it brings the sequence to its goal.</summary>
    public abstract bool WantsLogits { get; }

    /// <summary>Time from submission to first admission.</summary>
    public TimeSpan Queued { get; private set; }

    /// <summary>Time from first admission to the end of the first prefill.</summary>
    public TimeSpan Prefilled { get; private set; }

    /// <summary>Time since submission.</summary>
    public TimeSpan Age => Clock.GetElapsedTime(_submitted);

    protected TimeProvider Clock { get; } = time;

    /// <summary>Completes when the sequence holds nothing any more.</summary>
    internal TaskCompletionSource Closed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal void MarkAdmitted(int cachedTokens)
    {
        if (CachedTokens is null)
        {
            (CachedTokens, Queued) = (cachedTokens, Age);
        }
    }

    internal void MarkPrefilled()
    {
        if (Prefilled == TimeSpan.Zero)
        {
            Prefilled = Age - Queued;
        }
    }
}
