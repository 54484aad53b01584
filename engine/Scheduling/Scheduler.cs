using System.Runtime.InteropServices;
using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Kv;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// Decides what each step computes, under a budget of tokens and of sequences. Bookkeeping only: it neither computes nor waits.
/// <para>(1) Sequences that decode, oldest first; where one has no page for its next token, the newest sequence is preempted: its pages go back
/// (to the cache) and it waits in front, to be computed again. (2) Admission, first come first served, unless (1) preempted; where not all that is ready
/// finds room, sequences that have paused for long, since nobody reads them, are preempted for it. (3) Prompts, in chunks, oldest first.</para>
/// <para>A plan may be made while a step is under way, for what it leaves: a sequence whose token is being chosen goes on with that token, unknown as yet. None whose step is under way
/// is preempted; where that would be needed, or where a sequence may turn out to have ended, the outcome is awaited.</para>
/// </summary>
/// <param name="admitOther">Admits what waits and is no sequence.</param>
/// <param name="shortContext">The model's: a generation that has become longer is computed anew, from its first token.</param>
/// <param name="ended">Told of what cannot go on by its own fault: its admission failed, or nobody reads it. It neither waits nor is planned any more.</param>
public sealed class Scheduler(
    WaitingQueue waiting,
    RunningSet running,
    EngineLimits limits,
    PageCopier copy,
    Func<IWaiting, Admission> admitOther,
    Action<IWaiting, Exception> ended,
    int shortContext,
    TimeProvider time)
{
    private static readonly int[] AwaitedToken = [0];

    private readonly List<Sequence> _planned = [];
    private readonly List<Sequence> _before = [];
    private readonly List<StepSlice> _slices = [];
    private Func<IWaiting, Admission>? _tryAdmit;
    private int _budget;

    /// <summary>The sequences of the last plan, one for each of its slices.</summary>
    public ReadOnlySpan<Sequence> Planned => CollectionsMarshal.AsSpan(_planned);

    /// <summary>The slices of the last plan. Valid until the next one.</summary>
    public ReadOnlySpan<StepSlice> Slices => CollectionsMarshal.AsSpan(_slices);

    public ulong Preemptions { get; private set; }

    /// <summary>In how long to plan again for the sake of what waits, though nothing else happens; null for never.</summary>
    public TimeSpan? PlanAgainIn { get; private set; }

    /// <summary>The last plan came to nothing because a sequence whose step is under way would have to be preempted: plan again when that has come to its end.</summary>
    public bool NeedsOutcome { get; private set; }

    /// <returns>True if there is something to compute.</returns>
    public bool Plan()
    {
        NeedsOutcome = false;
        _planned.Clear();
        _slices.Clear();
        _budget = limits.MaxBatchTokens;
        PlanAgainIn = null;
        var preemptionsBefore = Preemptions;
        running.CopyTo(_before);
        foreach (var sequence in _before)
        {
            sequence.Planned = 0;
            NotePause(sequence);
            if (sequence is { State: SequenceState.Running, UnderWay: 0 } && HasOtherKv(sequence))
            {
                Preempt(sequence);
            }
        }

        foreach (var sequence in _before)
        {
            if (sequence is { Remaining: 1, State: SequenceState.Running } && CanGoOn(sequence) && _budget > 0 && TryGrow(sequence))
            {
                Add(sequence);
            }

            if (NeedsOutcome)
            {
                _planned.Clear();
                _slices.Clear();
                return false;
            }
        }

        if (Preemptions == preemptionsBefore && waiting.Count > 0)
        {
            waiting.Admit(_tryAdmit ??= TryAdmit, ended);
            PreemptPaused();
        }

        for (var index = 0; index < running.Count && _budget > 0; index++)
        {
            if (running[index] is { Planned: 0, Remaining: > 0 } sequence && CanGoOn(sequence) && TryGrowWithoutPreemption(sequence))
            {
                Add(sequence);
            }
        }

        return _slices.Count > 0;
    }

    private void Add(Sequence sequence)
    {
        sequence.Planned = Math.Min(_budget, sequence.Remaining);
        _budget -= sequence.Planned;
        _planned.Add(sequence);
        var isAwaited = sequence.Begun == sequence.Tokens.Count;
        _slices.Add(new StepSlice(
            isAwaited ? AwaitedToken : sequence.Tokens.Slice(sequence.Begun, sequence.Planned),
            sequence.Begun,
            sequence.Blocks.Pages,
            sequence.WantsLogits && sequence.Planned == sequence.Remaining)
        {
            LongContext = sequence.Blocks.IsLong,
            Choice = isAwaited ? ((GenerateSequence)sequence).AwaitedChoice : null,
        });
    }

    /// <summary>The KV that a generation has, or brings along, is that of a shorter sequence than it is by now, or of a longer one.</summary>
    private bool HasOtherKv(Sequence sequence) => sequence is GenerateSequence && sequence.Blocks.IsLong != sequence.Goal > shortContext;

    private bool CanGoOn(Sequence sequence) => sequence is { IsReady: true, AwaitsOutcome: false } && (sequence.UnderWay == 0 || !HasOtherKv(sequence));

    private bool TryGrow(Sequence sequence)
    {
        while (!sequence.Blocks.TryExtend(sequence.Goal))
        {
            // The sequence itself may be preempted, so there is one.
            var victim = running.NewestPreemptible()!;
            if (victim.UnderWay > 0)
            {
                // It may be ending, and what it is having computed would be lost.
                NeedsOutcome = true;
                return false;
            }

            Preempt(victim);
            if (victim == sequence)
            {
                return false;
            }
        }

        return true;
    }

    // Pages for the whole prompt were taken at admission; this is for a decode that found no room for its chunk in pass 1.
    private static bool TryGrowWithoutPreemption(Sequence sequence) => sequence.Blocks.TryExtend(sequence.Goal);

    private void NotePause(Sequence sequence)
    {
        if (!sequence.IsPaused)
        {
            sequence.PausedSince = null;
            return;
        }

        sequence.PausedSince ??= time.GetTimestamp();
        if (!HasTimeLeft(limits.MaxUnread, sequence.PausedSince.Value))
        {
            ended(sequence, new RpcException(RpcStatus.Aborted, $"Its caller has read nothing for --max-unread ({limits.MaxUnread.TotalSeconds:0.###} s)"));
        }
    }

    /// <summary>Whether less than <paramref name="limit"/> has passed; if so, a plan will be made when it has.</summary>
    private bool HasTimeLeft(TimeSpan limit, long since)
    {
        var left = limit - time.GetElapsedTime(since);
        if (left <= TimeSpan.Zero)
        {
            return false;
        }

        PlanAgainIn = PlanAgainIn < left ? PlanAgainIn : left;
        return true;
    }

    // A reader that does not read must not keep others waiting. The newest goes first, as in pass 1.
    private void PreemptPaused()
    {
        for (var index = _before.Count - 1; index >= 0; index--)
        {
            if (_before[index] is not { PausedSince: { } since, State: SequenceState.Running, CanPreempt: true, UnderWay: 0 } sequence)
            {
                continue;
            }

            if (!waiting.HasReady)
            {
                return;
            }

            if (HasTimeLeft(limits.MaxPause, since))
            {
                continue;
            }

            Preempt(sequence);
            waiting.Admit(_tryAdmit!, ended);
        }
    }

    private void Preempt(Sequence sequence)
    {
        running.Remove(sequence);
        sequence.Blocks.Publish(sequence.Tokens.Span[..sequence.Computed], withTail: true);
        sequence.Blocks.Release();
        (sequence.Computed, sequence.Received, sequence.PausedSince, sequence.State) = (0, 0, null, SequenceState.Waiting);
        sequence.Preemptions++;
        Preemptions++;
        waiting.Requeue(sequence);
    }

    private Admission TryAdmit(IWaiting item)
    {
        if (item is not Sequence sequence)
        {
            return admitOther(item);
        }

        if (!running.HasSeat)
        {
            return Admission.NoSeat;
        }

        var brought = sequence.HoldsPages;
        try
        {
            if (HasOtherKv(sequence))
            {
                // What it brought, if anything, is of no use to it.
                sequence.Blocks.Release();
                sequence.Blocks.Become(sequence.Tokens.Count > shortContext);
                (sequence.Received, brought) = (0, false);
            }

            sequence.Computed = brought
                ? Math.Min(sequence.Received, sequence.MatchLimit)
                : sequence.Blocks.Match(sequence.Tokens.Span[..sequence.MatchLimit]);
            if (sequence.Remaining > 0 && !sequence.Blocks.TryMakeRoom(sequence.Computed, sequence.Goal, copy))
            {
                GoBack(sequence, brought);
                return Admission.NoPages;
            }

            sequence.MarkAdmitted(sequence.Computed);
        }
        catch
        {
            GoBack(sequence, brought);
            throw;
        }

        sequence.Planned = 0;
        running.Add(sequence);
        return Admission.Admitted;
    }

    private static void GoBack(Sequence sequence, bool brought)
    {
        sequence.Computed = 0;
        if (!brought)
        {
            sequence.Blocks.Release();
        }
    }
}
