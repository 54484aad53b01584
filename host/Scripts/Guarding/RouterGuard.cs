using System.Collections.Immutable;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;

namespace ScriptedServe.Host.Scripts.Guarding;

/// <summary>
/// Watches each version that begins to serve, beside the one it serves instead of or next to, and takes it back if it is worse (the driver of
/// <see cref="GuardDecision"/>). It looks once a second: 1. at what serves now, to begin and end trials; 2. at the figures of each trial.
/// </summary>
internal sealed class RouterGuard(
    IGuardedRouters routers, FigureBook figures, GuardBounds bounds, IHostEvents events, TimeProvider time, ILogger<RouterGuard> log) : IRequestObserver
{
    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(1);

    private readonly Dictionary<string, GuardedRouter> known = new(StringComparer.Ordinal);
    private volatile ImmutableDictionary<string, ImmutableList<GuardTrial>> trials = ImmutableDictionary<string, ImmutableList<GuardTrial>>.Empty;
    private long enginesChanged = long.MinValue;

    /// <summary>An engine came or went: what failed about then may be its doing.</summary>
    public void EnginesChanged() => Interlocked.Exchange(ref enginesChanged, time.GetTimestamp());

    public void CallEnded(SubCall call)
    {
    }

    public void RequestEnded(string router, RequestTrace trace)
    {
        if (trials.TryGetValue(router, out var own))
        {
            var end = RequestEnd.Of(trace);
            foreach (var trial in own.Where(trial => trial.State == TrialState.Watching))
            {
                trial.Add(trace.Router, end);
            }
        }
    }

    /// <summary>The latest trials of a name: of its last activation, and of its canary.</summary>
    public IReadOnlyList<GuardView> View(string router) => trials.TryGetValue(router, out var own) ? [.. own.Select(GuardView.Of)] : [];

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(Glance, time);
        try
        {
            do
            {
                await LookAsync(cancellationToken);
            }
            while (await timer.WaitForNextTickAsync(cancellationToken));
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The host ends.
        }
    }

    internal async Task LookAsync(CancellationToken cancellationToken)
    {
        // 1
        var now = routers.Read();
        foreach (var router in now)
        {
            Follow(router);
        }

        foreach (var gone in known.Keys.Except(now.Select(router => router.Name)).ToList())
        {
            known.Remove(gone);
            trials = trials.Remove(gone);
        }

        // 2
        foreach (var trial in trials.Values.SelectMany(own => own).Where(trial => trial.State == TrialState.Watching).ToList())
        {
            if (trial.Decide(Interlocked.Read(ref enginesChanged) is > long.MinValue and var changed ? changed : null) is { } finding)
            {
                await TakeBackAsync(trial, finding, cancellationToken);
            }
            else if (trial.IsOver)
            {
                trial.End(TrialState.Accepted);
                Tell("guard.accepted", trial.CandidateLabel, $"{trial.CandidateLabel} was watched for {trial.Bounds.WatchSeconds} s and is no worse than {trial.AgainstLabel}");
            }
        }
    }

    private void Follow(GuardedRouter router)
    {
        var isNew = !known.TryGetValue(router.Name, out var before);
        known[router.Name] = router;
        if (isNew)
        {
            // What served when the host came up has been accepted before.
            before = router;
        }

        if (router.Active != before.Active)
        {
            Begin(router, router.Active, before.Active, isCanary: false);
        }

        if (router.Canary != before.Canary || (router.Canary is not null && router.Active != before.Active))
        {
            Begin(router, router.Canary, router.Active, isCanary: true);
        }
    }

    /// <summary>In place of the trial of the same kind, which thereby ends.</summary>
    private void Begin(GuardedRouter router, int? candidate, int? against, bool isCanary)
    {
        var own = trials.GetValueOrDefault(router.Name, []);
        var over = own.Where(trial => trial.IsCanary == isCanary).ToList();
        foreach (var trial in over.Where(trial => trial.State == TrialState.Watching))
        {
            trial.End(TrialState.Ended);
        }

        if (candidate is { } version && against is { } old && (isCanary || !router.IsRollback) && BoundsOf(router) is { IsOn: true } its)
        {
            own = own.RemoveRange(over).Add(new GuardTrial(router.Name, version, old, its, isCanary ? null : Figures($"{router.Name}@{old}"), time));
        }

        trials = trials.SetItem(router.Name, own);
    }

    private GuardSample Figures(string label)
    {
        var (counts, seconds) = figures.Find(label)?.Lately() ?? (new FigureCounts(), 0);
        return new GuardSample(counts, seconds);
    }

    private GuardBounds BoundsOf(GuardedRouter router)
    {
        try
        {
            return router.Guard is { } text ? bounds.With(text) : bounds;
        }
        catch (FormatException e)
        {
            log.LogWarning("{Router}: {Error}; the host's bounds are used", router.Name, e.Message);
            return bounds;
        }
    }

    private async Task TakeBackAsync(GuardTrial trial, GuardFinding finding, CancellationToken cancellationToken)
    {
        var reason = $"the guard found it worse than {trial.AgainstLabel}: {finding.Text}";
        try
        {
            await routers.RollBack(trial.Router, trial.Candidate, reason, cancellationToken);
            trial.End(TrialState.RolledBack, finding);
            Tell("guard.rolled_back", trial.CandidateLabel, $"{trial.CandidateLabel} was taken back: {reason}");
        }
        catch (RouterRefusedException e) when (e.Refusal is not (RouterRefusal.Busy or RouterRefusal.StoreUnavailable))
        {
            trial.End(TrialState.Stuck, finding);
            Tell("guard.stuck", trial.CandidateLabel, $"{trial.CandidateLabel} cannot be taken back ({e.Message}), although {reason}");
        }
        catch (RouterRefusedException e)
        {
            log.LogWarning("{Router} cannot be taken back yet: {Error}", trial.CandidateLabel, e.Message);
        }
    }

    private void Tell(string kind, string subject, string text)
    {
        events.Publish(kind, subject, text);
        log.Log(kind == "guard.accepted" ? LogLevel.Information : LogLevel.Warning, "{Event}", text);
    }
}
