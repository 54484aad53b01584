using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;
using ScriptedServe.Engine.Reservations;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>What the core's parts add up to, for the status.</summary>
internal sealed class LoadReport(
    PageAllocator pages, WaitingQueue waiting, SequenceTable sequences, ReservationTable reservations, Scheduler scheduler, StepStatistics statistics)
{
    public EngineLoad Now() => new()
    {
        Waiting = waiting.Count,
        Running = sequences.Live.Count(sequence => sequence.State is SequenceState.Running or SequenceState.Finishing),
        PrefillTokensQueued = (int)Math.Min(int.MaxValue, sequences.Live.Sum(sequence => sequence.State == SequenceState.Finishing ? 0L : sequence.QueuedTokens)),
        KvPagesTotal = pages.Total,
        KvPagesFree = pages.Available,
        KvPagesHeld = pages.Held,
        KvPagesCached = pages.Idle,
        Reservations = reservations.Count,
        StepUsMean = statistics.StepUsMean,
        DecodeStepUsMean = statistics.DecodeStepUsMean,
        Steps = statistics.Steps,
        TokensGenerated = statistics.TokensGenerated,
        TokensPrefilled = statistics.TokensPrefilled,
        Preemptions = scheduler.Preemptions,
    };
}
