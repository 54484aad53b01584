using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;
using ScriptedServe.Host.Scripts.Guarding;

namespace ScriptedServe.Host.Tests.Scripts.Guarding;

/// <summary>When a version is worse, and when it is only unlucky.</summary>
public sealed class GuardDecisionTests
{
    private static readonly GuardBounds Bounds = new();
    private static readonly GuardCircumstances Beside = new(IsBeside: true, EnginesSteady: false);
    private static readonly GuardCircumstances After = new(IsBeside: false, EnginesSteady: true);
    private static readonly GuardCircumstances AfterAnEngineWasLost = new(IsBeside: false, EnginesSteady: false);

    [Fact]
    public void A_version_that_fails_one_request_in_five_is_found_out_within_a_hundred_requests_whatever_the_order()
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var random = new Random(seed);
            var (candidate, baseline) = (new FigureCounts(), Sample(ok: 100));
            var needed = 0;
            do
            {
                candidate.Add(End(random.Next(5) == 0 ? RequestFault.Script : RequestFault.None));
                needed++;
            }
            while (Decide(candidate, baseline, After) is null && needed <= 100);

            Assert.InRange(needed, Bounds.MinRequests, 100);
        }
    }

    [Fact]
    public void Of_two_equal_versions_none_is_taken_back_but_by_rare_accident_however_often_the_guard_looks()
    {
        var accidents = 0;
        for (var seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            var (candidate, baseline) = (new FigureCounts(), new FigureCounts());
            var isTakenBack = false;
            for (var i = 0; i < 400 && !isTakenBack; i++)
            {
                candidate.Add(Draw(random));
                baseline.Add(Draw(random));
                isTakenBack = Decide(candidate, baseline, Beside) is not null;
            }

            accidents += isTakenBack ? 1 : 0;
        }

        Assert.InRange(accidents, 0, 9);

        // Of 5% errors and of latencies that vary fivefold.
        static RequestEnd Draw(Random random) => random.Next(20) == 0
            ? End(RequestFault.Script)
            : End(RequestFault.None, ttftMs: 20 * Math.Exp(random.NextDouble() * 1.6), tpotMs: 5 * Math.Exp(random.NextDouble() * 1.6));
    }

    [Fact]
    public void More_failures_never_save_a_version()
    {
        for (var of = 20; of <= 200; of += 20)
        {
            var wasFound = false;
            for (var failed = 0; failed <= of; failed++)
            {
                var isFound = Decide(Sample(of - failed, (RequestFault.Script, failed)), Sample(ok: 150, (RequestFault.Script, 4)), Beside) is not null;
                Assert.True(isFound || !wasFound, $"{failed} of {of}");
                wasFound = isFound;
            }

            Assert.True(wasFound);
        }
    }

    [Fact]
    public void Nothing_is_said_of_a_version_that_has_served_too_few()
    {
        Assert.Null(Decide(Sample(ok: 0, (RequestFault.Script, 19)), Sample(ok: 1000), Beside));
        Assert.NotNull(Decide(Sample(ok: 0, (RequestFault.Script, 20)), Sample(ok: 1000), Beside));
        Assert.Null(Decide(Sample(ok: 19, ttftMs: 900), Sample(ok: 1000, ttftMs: 10), Beside));
    }

    [Theory]
    [InlineData(RequestFault.Client)]
    [InlineData(RequestFault.Stopping)]
    [InlineData(RequestFault.None)]
    public void What_clients_and_operators_do_does_not_count(RequestFault fault)
    {
        var candidate = fault == RequestFault.None ? new FigureCounts() : Sample(ok: 100, (fault, 100));
        for (var i = 0; fault == RequestFault.None && i < 200; i++)
        {
            candidate.Add(i < 100 ? End(RequestFault.None) : new RequestEnd(CallOutcome.Cancelled, RequestFault.None, null, null, null));
        }

        Assert.Null(Decide(candidate, Sample(ok: 1000), Beside));
        Assert.Null(Decide(candidate, Sample(ok: 1000), After));
    }

    [Theory]
    [InlineData(RequestFault.Engine)]
    [InlineData(RequestFault.Overloaded)]
    [InlineData(RequestFault.Timeout)]
    public void Engines_that_fail_both_alike_take_no_version_back(RequestFault fault)
    {
        Assert.Null(Decide(Sample(ok: 60, (fault, 40)), Sample(ok: 620, (fault, 380)), Beside));
        Assert.NotNull(Decide(Sample(ok: 60, (fault, 40)), Sample(ok: 1000), Beside));
        Assert.Null(Decide(Sample(ok: 60, (fault, 40)), Sample(ok: 1000), AfterAnEngineWasLost));
        Assert.NotNull(Decide(Sample(ok: 60, (fault, 40)), Sample(ok: 1000), After));
        Assert.NotNull(Decide(Sample(ok: 60, (RequestFault.Script, 40)), Sample(ok: 1000), AfterAnEngineWasLost));
    }

    [Fact]
    public void A_version_with_no_known_one_before_is_judged_by_its_own_failures_alone()
    {
        Assert.NotNull(Decide(Sample(ok: 16, (RequestFault.Limit, 4)), new FigureCounts(), After));
        Assert.Null(Decide(Sample(ok: 19, (RequestFault.Limit, 1)), new FigureCounts(), After));
        Assert.Null(Decide(Sample(ok: 0, (RequestFault.Engine, 50)), new FigureCounts(), After));

        // As bad as the one before, of which little is known.
        Assert.Null(Decide(Sample(ok: 10, (RequestFault.Script, 10)), Sample(ok: 5, (RequestFault.Script, 5)), After));
    }

    [Fact]
    public void Latency_beyond_the_bound_and_beyond_chance_takes_a_version_back_and_names_its_numbers()
    {
        var finding = Decide(Sample(ok: 60, ttftMs: 250), Sample(ok: 300, ttftMs: 100), Beside)!;
        Assert.Equal("ttft_p50", finding.Measure);
        Assert.InRange(finding.Candidate, 237, 263);
        Assert.InRange(finding.Baseline!.Value, 95, 105);
        Assert.InRange(finding.Bound, 190, 210);
        Assert.Contains("over 60 requests", finding.Text, StringComparison.Ordinal);

        Assert.Equal("tpot_p50", Decide(Sample(ok: 60, tpotMs: 45), Sample(ok: 300, tpotMs: 10), After)!.Measure);
        Assert.Null(Decide(Sample(ok: 60, ttftMs: 180), Sample(ok: 300, ttftMs: 100), Beside));
        Assert.Null(Decide(Sample(ok: 60, ttftMs: 1.5), Sample(ok: 300, ttftMs: 0.3), Beside));
    }

    [Fact]
    public void A_slow_tail_is_found_where_the_median_is_as_before()
    {
        var candidate = Sample(ok: 170, ttftMs: 100);
        for (var i = 0; i < 30; i++)
        {
            candidate.Add(End(RequestFault.None, ttftMs: 2000));
        }

        Assert.Equal("ttft_p95", Decide(candidate, Sample(ok: 300, ttftMs: 100), Beside)!.Measure);
    }

    [Fact]
    public void Latency_that_came_with_more_load_is_not_held_against_a_version_that_serves_alone()
    {
        var (slow, before) = (Sample(ok: 500, ttftMs: 400), Sample(ok: 100, ttftMs: 100));
        Assert.Null(GuardDecision.Decide(new GuardSample(slow, 60), new GuardSample(before, 60), After, Bounds));
        Assert.NotNull(GuardDecision.Decide(new GuardSample(slow, 60), new GuardSample(before, 60), Beside, Bounds));
        Assert.NotNull(GuardDecision.Decide(new GuardSample(slow, 300), new GuardSample(before, 60), After, Bounds));
    }

    [Fact]
    public void A_version_that_serves_alone_is_not_judged_by_the_latency_of_a_few_seconds()
    {
        var (slow, before) = (Sample(ok: 100, ttftMs: 400), Sample(ok: 400, ttftMs: 100));
        Assert.Null(GuardDecision.Decide(new GuardSample(slow, 25), new GuardSample(before, 100), After, Bounds));
        Assert.NotNull(GuardDecision.Decide(new GuardSample(slow, 30), new GuardSample(before, 100), After, Bounds));
        Assert.NotNull(GuardDecision.Decide(new GuardSample(slow, 25), new GuardSample(before, 100), Beside, Bounds));
    }

    [Fact]
    public void A_guard_that_is_off_takes_nothing_back() =>
        Assert.Null(GuardDecision.Decide(new GuardSample(Sample(0, (RequestFault.Script, 500)), 60), new GuardSample(Sample(500), 60), Beside, Bounds.With("off")));

    [Theory]
    [InlineData("maybe", "guard is \"maybe\"; it can be on, off, or values of window, watch, requests")]
    [InlineData("errors=200", "guard: errors must be a whole number from 0 to 100")]
    [InlineData("errors", "guard: errors must be a whole number")]
    public void Bounds_that_cannot_be_are_refused_by_name(string text, string message) =>
        Assert.StartsWith(message, Assert.Throws<FormatException>(() => Bounds.With(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void Bounds_of_one_activation_change_what_they_name() =>
        Assert.Equal(Bounds with { ErrorMarginPercent = 10, LatencyPercent = 300 }, Bounds.With("errors=10, latency=300"));

    private static GuardFinding? Decide(FigureCounts candidate, FigureCounts baseline, GuardCircumstances around) =>
        GuardDecision.Decide(new GuardSample(candidate, candidate.Ended), new GuardSample(baseline, Math.Max(1, baseline.Ended)), around, Bounds);

    private static FigureCounts Sample(int ok, double ttftMs = 10, double tpotMs = 5) => Sample(ok, ttftMs, tpotMs, []);

    private static FigureCounts Sample(int ok, params (RequestFault Fault, int Count)[] faults) => Sample(ok, 10, 5, faults);

    private static FigureCounts Sample(int ok, double ttftMs, double tpotMs, (RequestFault Fault, int Count)[] faults)
    {
        var counts = new FigureCounts();
        for (var i = 0; i < ok; i++)
        {
            counts.Add(End(RequestFault.None, ttftMs, tpotMs));
        }

        foreach (var (fault, count) in faults)
        {
            for (var i = 0; i < count; i++)
            {
                counts.Add(End(fault));
            }
        }

        return counts;
    }

    private static RequestEnd End(RequestFault fault, double ttftMs = 10, double tpotMs = 5) => fault == RequestFault.None
        ? new RequestEnd(CallOutcome.Ok, fault, ttftMs / 1000, tpotMs / 1000, (ttftMs + (10 * tpotMs)) / 1000)
        : new RequestEnd(CallOutcome.Failed, fault, null, null, null);
}
