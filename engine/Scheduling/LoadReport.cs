using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;
using ScriptedServe.Engine.Reservations;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>The figures of <see cref="EngineLoad"/>, as they are kept while nobody asks.</summary>
public readonly record struct LoadFigures
{
    public int Waiting { get; init; }

    public int Running { get; init; }

    public int PrefillTokensQueued { get; init; }

    public int KvPagesTotal { get; init; }

    public int KvPagesFree { get; init; }

    public int KvPagesHeld { get; init; }

    public int KvPagesCached { get; init; }

    public int Reservations { get; init; }

    public long StepUsMean { get; init; }

    public long DecodeStepUsMean { get; init; }

    public ulong Steps { get; init; }

    public ulong TokensGenerated { get; init; }

    public ulong TokensPrefilled { get; init; }

    public ulong Preemptions { get; init; }

    public EngineLoad ToMessage() => new()
    {
        Waiting = Waiting,
        Running = Running,
        PrefillTokensQueued = PrefillTokensQueued,
        KvPagesTotal = KvPagesTotal,
        KvPagesFree = KvPagesFree,
        KvPagesHeld = KvPagesHeld,
        KvPagesCached = KvPagesCached,
        Reservations = Reservations,
        StepUsMean = StepUsMean,
        DecodeStepUsMean = DecodeStepUsMean,
        Steps = Steps,
        TokensGenerated = TokensGenerated,
        TokensPrefilled = TokensPrefilled,
        Preemptions = Preemptions,
    };
}

/// <summary>What the core's parts add up to, for the status.</summary>
internal sealed class LoadReport(
    PageAllocator pages, WaitingQueue waiting, SequenceTable sequences, ReservationTable reservations, Scheduler scheduler, StepStatistics statistics)
{
    public LoadFigures Now()
    {
        var (running, queued) = (0, 0L);
        for (var index = 0; index < sequences.Live.Count; index++)
        {
            var sequence = sequences.Live[index];
            running += sequence.State is SequenceState.Running or SequenceState.Finishing ? 1 : 0;
            queued += sequence.State == SequenceState.Finishing ? 0 : sequence.QueuedTokens;
        }

        return new LoadFigures
        {
            Waiting = waiting.Count,
            Running = running,
            PrefillTokensQueued = (int)Math.Min(int.MaxValue, queued),
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
}
