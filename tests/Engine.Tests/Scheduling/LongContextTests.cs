using ScriptedServe.Contracts;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Scheduling;

/// <summary>Models that compute longer sequences unlike shorter ones, from the first token on.</summary>
public sealed class LongContextTests
{
    private const int ShortContext = 16;

    [Fact]
    public void A_generation_that_becomes_a_long_sequence_is_computed_anew_and_goes_on_as_one()
    {
        using var simulation = new Simulation();
        var engine = Add(simulation, "a");
        int[] prompt = Calls.Prompt(10);
        var whole = simulation.Run(engine.GenerateAsync(Calls.Generate("r", prompt, Calls.Sampling(20))));
        Assert.Equal(1, whole.Timings!.Preemptions);

        // The same on another engine, which has seen none of it, from the first token after the change on.
        var other = Add(simulation, "b");
        int change = ShortContext + 1 - prompt.Length;
        var rest = simulation.Run(other.GenerateAsync(Calls.Generate("r", [.. prompt, .. whole.Tokens[..change]], Calls.Sampling(20), resumeAfter: prompt.Length)));
        Assert.Equal(whole.Tokens[change..], rest.Tokens);
        Assert.Equal(0, rest.Timings!.Preemptions);
    }

    [Fact]
    public void Long_and_short_sequences_that_begin_alike_share_no_kv()
    {
        using var simulation = new Simulation();
        var engine = Add(simulation, "a");
        int[] prompt = Calls.Prompt(40);
        foreach (int length in new[] { 12, 40, 12, 40 })
        {
            var alone = simulation.Run(Add(simulation, $"alone{simulation.Engines.Count}").GenerateAsync(Calls.Generate("r", prompt[..length], Calls.Sampling(3))));
            var output = simulation.Run(engine.GenerateAsync(Calls.Generate("r", prompt[..length], Calls.Sampling(3))));
            Assert.Equal(alone.Tokens, output.Tokens);
        }
    }

    [Fact]
    public void An_address_for_the_beginning_of_a_long_sequence_takes_no_kv_of_a_short_one()
    {
        using var simulation = new Simulation();
        var (receiver, sender) = (Add(simulation, "a"), Add(simulation, "b"));
        int[] prompt = Calls.Prompt(40);
        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("r", prompt, end: 12)));
        Assert.Equal(RpcStatus.FailedPrecondition, simulation.Fails(sender.SendAsync(Calls.Send("r", prompt[..12], kv))).Status);
        Assert.Equal(12, simulation.Run(sender.SendAsync(Calls.Send("r", prompt, kv))).SentTokens);

        // Used for the short one after all, it is of no use, and does no harm.
        var output = simulation.Run(receiver.GenerateAsync(Calls.Generate("r", prompt[..12], Calls.Sampling(3), kv.ReservationId)));
        Assert.Equal(simulation.Run(sender.GenerateAsync(Calls.Generate("r", prompt[..12], Calls.Sampling(3)))).Tokens, output.Tokens);
    }

    private static SimulatedEngine Add(Simulation simulation, string id)
    {
        var engine = new SimulatedEngine(id, simulation, new EngineLimits(), pages: 64, contextLength: 200, shortContext: ShortContext);
        simulation.Engines.Add(engine);
        return engine;
    }
}
