using ScriptedServe.Host.Requests.Figures;

namespace ScriptedServe.Host.Scripts.Guarding;

/// <summary>What came, or is to come, of watching a version.</summary>
public enum TrialState
{
    Watching,

    /// <summary>It was as good as the old one while it was watched.</summary>
    Accepted,

    /// <summary>It was worse; the old one serves again.</summary>
    RolledBack,

    /// <summary>It was worse, but it could not be taken back.</summary>
    Stuck,

    /// <summary>Somebody else took it out, or put another in its place, before there was anything to say.</summary>
    Ended,
}

/// <summary>One version on trial against another. The counts of the new one, and of one beside it, begin with the trial.</summary>
/// <param name="before">The old version's figures where it does not serve any more; null where it serves beside the new one.</param>
internal sealed class GuardTrial(string router, int candidate, int against, GuardBounds bounds, GuardSample? before, TimeProvider time)
{
    private readonly FigureWindow window = new(time, TimeSpan.FromSeconds(bounds.WindowSeconds));
    private readonly FigureWindow beside = new(time, TimeSpan.FromSeconds(bounds.WindowSeconds));
    private readonly long began = time.GetTimestamp();
    private (GuardSample Candidate, GuardSample Against)? last;

    public string Router { get; } = router;

    public int Candidate { get; } = candidate;

    public int Against { get; } = against;

    public bool IsCanary => before is null;

    public GuardBounds Bounds { get; } = bounds;

    public DateTimeOffset Since { get; } = time.GetUtcNow();

    public string CandidateLabel { get; } = $"{router}@{candidate}";

    public string AgainstLabel { get; } = $"{router}@{against}";

    public TrialState State { get; private set; } = TrialState.Watching;

    public GuardFinding? Finding { get; private set; }

    /// <summary>A canary is watched as long as it is one.</summary>
    public bool IsOver => !IsCanary && time.GetElapsedTime(began).TotalSeconds >= Bounds.WatchSeconds;

    public void Add(string label, in RequestEnd end)
    {
        if (label == CandidateLabel)
        {
            window.Add(end);
        }
        else if (IsCanary && label == AgainstLabel)
        {
            beside.Add(end);
        }
    }

    /// <summary>The figures as they are, or, of a trial that has ended, those it ended with.</summary>
    public (GuardSample Candidate, GuardSample Against) Samples() => last ?? (Of(window), before ?? Of(beside));

    /// <param name="enginesChanged">When an engine last came or went, on the trial's clock; null if none did.</param>
    public GuardFinding? Decide(long? enginesChanged)
    {
        var (now, old) = Samples();
        var steady = enginesChanged is not { } changed || time.GetElapsedTime(changed, began).TotalSeconds > old.Seconds;
        return GuardDecision.Decide(now, old, new GuardCircumstances(IsCanary, steady), Bounds);
    }

    public void End(TrialState state, GuardFinding? finding = null)
    {
        last = Samples();
        Finding = finding;
        State = state;
    }

    private static GuardSample Of(FigureWindow figures)
    {
        var (counts, seconds) = figures.Read();
        return new GuardSample(counts, seconds);
    }
}

/// <summary>A trial as <c>/admin/routers</c> shows it.</summary>
/// <param name="Why">Only if there was something to hold against the version.</param>
public sealed record GuardView(
    TrialState State, int Version, int Against, bool IsCanary, DateTimeOffset Since, GuardFinding? Why, FiguresView Figures, FiguresView AgainstFigures)
{
    internal static GuardView Of(GuardTrial trial)
    {
        var (candidate, against) = trial.Samples();
        return new GuardView(
            trial.State, trial.Candidate, trial.Against, trial.IsCanary, trial.Since, trial.Finding,
            FiguresView.Of(candidate.Counts, candidate.Seconds), FiguresView.Of(against.Counts, against.Seconds));
    }
}
