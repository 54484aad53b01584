using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Guarding;

namespace ScriptedServe.Host.Tests.Scripts.Guarding;

/// <summary>What the guard puts on trial, and what it does when it has seen enough.</summary>
public sealed class RouterGuardTests : IGuardedRouters, IDisposable
{
    private readonly FakeTimeProvider time = new();
    private readonly HostEvents events;
    private readonly LogLines log = new();
    private readonly FigureBook figures;
    private readonly RouterGuard guard;
    private readonly List<(int Version, string Reason)> rolledBack = [];
    private GuardedRouter serving = new("main", Active: 1, Canary: null, IsRollback: false, Guard: null);
    private RouterRefusedException? refusal;

    public RouterGuardTests()
    {
        events = new HostEvents(time);
        figures = new FigureBook(time, TimeSpan.FromSeconds(120));
        guard = new RouterGuard(this, figures, new GuardBounds(), events, time, log.CreateLogger<RouterGuard>());
    }

    public void Dispose() => log.Dispose();

    IReadOnlyList<GuardedRouter> IGuardedRouters.Read() => [serving];

    Task IGuardedRouters.RollBack(string router, int version, string reason, CancellationToken cancellationToken)
    {
        if (refusal is not null)
        {
            throw refusal;
        }

        rolledBack.Add((version, reason));
        serving = version == serving.Canary ? serving with { Canary = null } : serving with { Active = 1, IsRollback = true };
        return Task.CompletedTask;
    }

    [Fact]
    public async Task An_activated_version_that_fails_more_than_the_one_before_is_taken_back_with_the_numbers_that_led_to_it()
    {
        await Look();
        Serve(1, ok: 100);
        serving = serving with { Active = 2 };
        await Look();
        Serve(2, ok: 19, failed: 5);
        await Look();

        Assert.Equal((2, "the guard found it worse than main@1: 5 of 24 requests failed (20.8 %), against 0 of 100 (0.0 %); allowed are 5 % more"), Assert.Single(rolledBack));
        var view = Assert.Single(guard.View("main"));
        Assert.Equal((TrialState.RolledBack, 2, 1, false, 24L, 100L), (view.State, view.Version, view.Against, view.IsCanary, view.Figures.Requests, view.AgainstFigures.Requests));
        Assert.Equal(("errors", 0.2083, 0d, 0.05), (view.Why!.Measure, view.Why.Candidate, view.Why.Baseline!.Value, view.Why.Bound));
        Assert.Equal(5, view.Figures.Failed["script"]);
        Assert.Contains(await Told(), text => text.StartsWith("main@2 was taken back: the guard found it worse", StringComparison.Ordinal));

        // The version that came back is not on trial, and what it does later changes nothing about the other.
        Serve(1, ok: 0, failed: 100);
        await Look();
        Assert.Single(rolledBack);
        Assert.Equal(24, Assert.Single(guard.View("main")).Figures.Requests);
    }

    [Fact]
    public async Task A_canary_is_judged_beside_the_active_version_and_only_it_is_taken_back()
    {
        serving = serving with { Canary = 2 };
        await Look();
        Serve(1, ok: 10, failed: 10);
        serving = serving with { Canary = 3 };
        await Look();
        Serve(1, ok: 200);
        Serve(3, ok: 19, failed: 1);
        await Look();
        Assert.Empty(rolledBack);

        Serve(3, ok: 18, failed: 8);
        await Look();

        Assert.Equal(3, Assert.Single(rolledBack).Version);
        Assert.Equal((1, null), (serving.Active, serving.Canary));
        Assert.True(Assert.Single(guard.View("main")).IsCanary);
    }

    [Fact]
    public async Task A_version_that_is_no_worse_while_it_is_watched_is_accepted()
    {
        await Look();
        serving = serving with { Active = 2 };
        await Look();
        for (var i = 0; i < 10; i++)
        {
            Assert.Equal(TrialState.Watching, Assert.Single(guard.View("main")).State);
            Serve(2, ok: 50);
            time.Advance(TimeSpan.FromSeconds(60));
            await Look();
        }

        Assert.Equal(TrialState.Accepted, Assert.Single(guard.View("main")).State);
        Serve(2, ok: 0, failed: 100);
        await Look();
        Assert.Empty(rolledBack);
    }

    [Fact]
    public async Task What_serves_when_the_host_comes_up_and_what_comes_by_a_rollback_or_with_the_guard_off_is_not_on_trial()
    {
        await Look();
        Assert.Empty(guard.View("main"));
        serving = serving with { Active = 2, IsRollback = true };
        await Look();
        Assert.Empty(guard.View("main"));
        serving = serving with { Active = 3, IsRollback = false, Guard = "off" };
        await Look();
        Assert.Empty(guard.View("main"));
        serving = serving with { Active = 4, Guard = "nonsense" };
        await Look();
        Assert.Equal(4, Assert.Single(guard.View("main")).Version);
        Assert.Contains(log.Lines, line => line.Contains("guard is \"nonsense\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_trial_ends_when_somebody_else_changes_what_serves()
    {
        await Look();
        serving = serving with { Active = 2 };
        await Look();
        Serve(2, ok: 0, failed: 15);
        serving = serving with { Active = 3 };
        await Look();
        Serve(2, ok: 0, failed: 15);
        await Look();

        Assert.Empty(rolledBack);
        Assert.Equal((3, 0L), (Assert.Single(guard.View("main")).Version, guard.View("main")[0].Figures.Requests));
    }

    [Fact]
    public async Task Failures_of_engines_do_not_count_when_an_engine_was_lost_meanwhile()
    {
        await Look();
        Serve(1, ok: 100);
        time.Advance(TimeSpan.FromSeconds(100));
        serving = serving with { Active = 2 };
        await Look();
        guard.EnginesChanged();
        Serve(2, ok: 50, failed: 50, RequestFault.Engine);
        await Look();
        Assert.Empty(rolledBack);

        Serve(2, ok: 0, failed: 50, RequestFault.Script);
        await Look();
        Assert.Single(rolledBack);
    }

    [Fact]
    public async Task A_version_that_cannot_be_taken_back_is_told_once()
    {
        await Look();
        Serve(1, ok: 100);
        serving = serving with { Active = 2 };
        await Look();
        refusal = new RouterRefusedException(RouterRefusal.Conflict, "no_previous_version", "nothing to go back to");
        Serve(2, ok: 0, failed: 50);
        await Look();
        await Look();

        Assert.Equal(TrialState.Stuck, Assert.Single(guard.View("main")).State);
        Assert.Single(await Told(), text => text.Contains("cannot be taken back (nothing to go back to)", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_rollback_that_must_wait_is_tried_again()
    {
        await Look();
        Serve(1, ok: 100);
        serving = serving with { Active = 2 };
        await Look();
        refusal = new RouterRefusedException(RouterRefusal.Busy, "busy", "try again");
        Serve(2, ok: 0, failed: 50);
        await Look();
        refusal = null;
        await Look();
        Assert.Equal(2, Assert.Single(rolledBack).Version);
    }

    private Task Look() => guard.LookAsync(CancellationToken.None);

    private void Serve(int version, int ok, int failed = 0, RequestFault fault = RequestFault.Script)
    {
        for (var i = 0; i < ok + failed; i++)
        {
            var trace = new RequestTrace($"req-{i}", $"main@{version}", 1, time);
            if (i < ok)
            {
                trace.Emitted(1);
                trace.End(CallOutcome.Ok);
            }
            else
            {
                trace.End(CallOutcome.Failed, error: "as planned", fault: fault);
            }

            figures.RequestEnded("main", trace);
            guard.RequestEnded("main", trace);
        }
    }

    private async Task<List<string>> Told()
    {
        using var stop = new CancellationTokenSource();
        events.Publish("end", "", "");
        var texts = new List<string>();
        await foreach (var happened in events.Listen(after: 0, stop.Token))
        {
            if (happened.Kind == "end")
            {
                break;
            }

            texts.Add(happened.Text);
        }

        return texts;
    }
}
