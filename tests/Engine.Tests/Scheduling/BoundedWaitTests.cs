using ScriptedServe.Contracts;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Scheduling;

/// <summary>Nothing waits for ever, and an idle engine is woken in time to see to that.</summary>
public sealed class BoundedWaitTests
{
    [Fact]
    public void A_reader_that_does_not_read_gives_its_seat_to_others_and_goes_on_later()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", limits: new EngineLimits { OutputChunks = 3, MaxSequences = 1, MaxPause = TimeSpan.FromSeconds(2) });
        var request = Calls.Generate("slow", Calls.Prompt(5), Calls.Sampling(50, temperature: 1, seed: 3));
        var expected = simulation.Run(engine.GenerateAsync(request)).Tokens;

        var slow = engine.Service.StartGenerateAsync(request, default).GetAsyncEnumerator();
        Assert.True(simulation.Run(slow.MoveNextAsync().AsTask()));
        var other = engine.GenerateAsync(Calls.Generate("other", Calls.Prompt(6), Calls.Sampling(50)));
        simulation.Settle();
        simulation.Advance(TimeSpan.FromSeconds(1));
        Assert.False(other.IsCompleted);

        Assert.True(IsWokenAfter(TimeSpan.FromSeconds(1), simulation, engine));
        Assert.Equal(50, simulation.Run(other).Tokens.Count);
        Assert.Equal(0, engine.Load.KvPagesHeld);

        var tokens = new List<int>();
        do
        {
            tokens.AddRange(slow.Current.TokenIds);
        }
        while (simulation.Run(slow.MoveNextAsync().AsTask()));

        Assert.Equal(expected, tokens);
        Assert.Equal((1ul, 0), (engine.Load.Preemptions, engine.Load.KvPagesHeld));
    }

    [Fact]
    public void A_reader_that_does_not_read_keeps_its_seat_while_nobody_wants_it()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", limits: new EngineLimits { OutputChunks = 3, MaxSequences = 1 });
        var slow = engine.Service.StartGenerateAsync(Calls.Generate("slow", Calls.Prompt(5)), default).GetAsyncEnumerator();
        Assert.True(simulation.Run(slow.MoveNextAsync().AsTask()));
        simulation.Advance(TimeSpan.FromMinutes(5));
        Assert.Equal((0ul, 1), (engine.Load.Preemptions, engine.Load.Running));
    }

    [Fact]
    public void A_lone_generation_that_finds_no_page_is_given_up_within_the_bound()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", pages: 4, limits: new EngineLimits { MaxWait = TimeSpan.FromSeconds(5) });
        var kept = simulation.Run(engine.PrepAsync(Calls.Prep("kept", Calls.Prompt(8, seed: 2), leaseMs: 3_600_000)));
        var generation = engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(6), Calls.Sampling(9)));

        // As its own thread drives it: until it says that there is nothing to do.
        while (engine.Core.Step())
        {
        }

        Assert.Equal((1ul, 1), (engine.Load.Preemptions, engine.Load.Waiting));

        Assert.True(IsWokenAfter(TimeSpan.FromSeconds(5), simulation, engine));
        var error = simulation.Fails(generation);
        Assert.Equal(RpcStatus.Aborted, error.Status);
        Assert.NotNull(error.RetryAfter);
        simulation.Run(engine.ReleaseAsync(kept));
        Assert.Equal(0, engine.Load.KvPagesHeld);
    }

    /// <summary>An engine with nothing to do sleeps until it is woken, and the simulation, which steps it anyway, would hide that nobody does.</summary>
    private static bool IsWokenAfter(TimeSpan time, Simulation simulation, SimulatedEngine engine)
    {
        var woken = false;
        engine.Core.Commands.OnPost(() => woken = true);
        simulation.Time.Advance(time);
        engine.Core.Commands.OnPost(() => { });
        simulation.Settle();
        return woken;
    }
}
