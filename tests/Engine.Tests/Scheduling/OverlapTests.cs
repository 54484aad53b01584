using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Reservations;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Scheduling;

/// <summary>Steps launched before the last one's tokens are known, one case at a time; <see cref="ChaosTests"/> has all of them at once.</summary>
public sealed class OverlapTests
{
    [Fact]
    public void Each_step_but_the_first_is_launched_before_the_one_before_is_known()
    {
        using var simulation = new Simulation { Overlaps = true };
        var engine = simulation.Add("a");
        var output = simulation.Run(engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(6), Calls.Sampling(12))));
        Assert.Equal(12, output.Tokens.Count);
        Assert.Equal(11, engine.Overlapping!.Ahead);
        // Its length was known, so that nothing was computed in vain.
        Assert.Equal(6 + 11, engine.Runner.TokensComputed);
    }

    [Fact]
    public void A_token_computed_after_a_stop_token_is_seen_by_nobody_and_its_page_comes_back()
    {
        for (var length = 1; length < 24; length++)
        {
            var (with, without) = (Stop(length, overlaps: true), Stop(length, overlaps: false));
            Assert.Equal(without.Tokens, with.Tokens);
            Assert.Equal(without.Logprobs, with.Logprobs);
            Assert.Equal((FinishReason.Stop, without.Reason), (with.Reason, with.Reason));
            Assert.Equal(without.Usage, with.Usage);
        }
    }

    /// <summary>A generation that ends with a stop token, and then one that goes on after it, from the cache.</summary>
    private static Generated Stop(int length, bool overlaps)
    {
        using var simulation = new Simulation { Overlaps = overlaps };
        var engine = simulation.Add("a", pages: 40);
        var prompt = Calls.Prompt(length);
        var greedy = Calls.Sampling(8);
        greedy.RepetitionPenalty = 1.3f;
        greedy.Logprobs = 2;
        var free = simulation.Run(engine.GenerateAsync(Calls.Generate("free", prompt, greedy)));
        var stopping = greedy.Clone();
        stopping.StopTokenIds.Add(free.Tokens[3]);
        int[] other = [.. prompt.Select(token => 33 - token)];
        _ = simulation.Run(engine.GenerateAsync(Calls.Generate("stopped", other, stopping)));
        var stopped = simulation.Run(engine.GenerateAsync(Calls.Generate("again", prompt, stopping)));
        Assert.Equal(free.Tokens[..stopped.Tokens.Count], stopped.Tokens);
        Assert.True(stopped.Tokens.Count <= 4);
        if (overlaps)
        {
            Assert.True(engine.Runner.TokensComputed > 0);
        }

        simulation.Settle();
        Assert.Equal((0, engine.Pool.Pages), (engine.Load.KvPagesHeld, engine.Load.KvPagesFree));
        var longer = simulation.Run(engine.GenerateAsync(Calls.Generate("longer", [.. prompt, .. stopped.Tokens, 9, 9], greedy)));
        return stopped with { Tokens = [.. stopped.Tokens, .. longer.Tokens], Usage = longer.Usage };
    }

    [Fact]
    public void An_engine_is_not_idle_while_a_step_is_under_way()
    {
        using var simulation = new Simulation { Overlaps = true };
        var engine = simulation.Add("a");
        using var cancel = new CancellationTokenSource();
        var caller = engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(6), Calls.Sampling(50)), cancellationToken: cancel.Token);
        Assert.True(Simulation.StepChecked(engine));
        cancel.Cancel();
        simulation.RunContinuations();
        var drained = engine.Service.DrainAsync(new DrainRequest(), CancellationToken.None);
        Assert.False(drained.IsCompleted);
        simulation.Run(drained);
        Assert.True(engine.Core.IsIdle);
        Assert.Equal((0, engine.Pool.Pages), (engine.Load.KvPagesHeld, engine.Load.KvPagesFree));
        Assert.ThrowsAny<Exception>(() => simulation.Run(caller));
    }

    [Fact]
    public void A_peer_is_told_of_pages_only_when_no_step_launched_before_can_write_them()
    {
        using var simulation = new Simulation { Overlaps = true };
        var engine = simulation.Add("a");
        _ = simulation.Start(() => engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(6), Calls.Sampling(50))));
        Assert.True(Simulation.StepChecked(engine));
        Reservation? reservation = null;
        engine.Core.Commands.Post(() => reservation = engine.Core.Prepare("s", Calls.Prompt(9, seed: 2), 9, TimeSpan.FromSeconds(60)));
        var told = new List<bool>();
        engine.Overlapping!.OnCollect = () => told.Add(reservation!.Prepared.Task.IsCompleted);
        Assert.True(Simulation.StepChecked(engine));
        Assert.Equal([false], told);
        Assert.True(reservation!.Prepared.Task.IsCompletedSuccessfully);
    }

    [Fact]
    public void A_step_that_fails_when_it_is_awaited_ends_its_own_sequences_and_no_others()
    {
        using var simulation = new Simulation { Overlaps = true };
        var engine = simulation.Add("a");
        var failing = simulation.Start(() => engine.GenerateAsync(Calls.Generate("failing", [3, 4, 5], Calls.Sampling(20))));
        engine.Runner.OnForward = slices =>
        {
            if (slices.Any(slice => slice.Position == 9))
            {
                throw new InvalidOperationException("a failing device");
            }
        };
        var error = simulation.Fails(failing);
        Assert.Equal(RpcStatus.Internal, error.Status);
        Assert.Contains("a failing device", error.Message, StringComparison.Ordinal);
        engine.Runner.OnForward = null;
        simulation.Settle();
        Assert.Equal((0, engine.Pool.Pages), (engine.Load.KvPagesHeld, engine.Load.KvPagesFree));
        Assert.Equal(5, simulation.Run(engine.GenerateAsync(Calls.Generate("next", [3, 4, 5], Calls.Sampling(5)))).Tokens.Count);
    }

    [Fact]
    public void Without_overlap_no_token_is_launched_before_it_is_known()
    {
        using var simulation = new Simulation { Overlaps = true };
        var engine = simulation.Add("a", limits: new EngineLimits { OverlapSteps = false });
        Assert.Equal(12, simulation.Run(engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(6), Calls.Sampling(12)))).Tokens.Count);
        Assert.Equal(0, engine.Overlapping!.Ahead);
    }
}
