using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Scheduling;

/// <summary>Errors that nobody foresaw, on the engine's own thread: no request ends the process, or another request.</summary>
public sealed class OddFailureTests
{
    [Fact]
    public void A_call_that_fails_oddly_when_it_is_queued_fails_alone()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var (engine, other) = (simulation.Add("a"), simulation.Add("b"));
        var tokens = Calls.Prompt(12);
        var kv = simulation.Run(other.PrepAsync(Calls.Prep("s", tokens)));
        var good = engine.GenerateAsync(Calls.Generate("good", Calls.Prompt(9, seed: 3)));
        simulation.Network.Immediate = true;

        foreach (var start in new Func<Task>[]
        {
            () => engine.GenerateAsync(Calls.Generate("odd", tokens)),
            () => engine.SendAsync(Calls.Send("odd", tokens, kv)),
            () => engine.PrepAsync(Calls.Prep("odd", tokens)),
        })
        {
            // The clock is next read when the call is put in the queue.
            engine.Core.Step();
            engine.Core.Commands.Post(() => simulation.Time.Fault = new InvalidTimeZoneException("odd"));
            var error = simulation.Fails(start());
            Assert.Equal(RpcStatus.Internal, error.Status);
            Assert.Contains("InvalidTimeZoneException: odd", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal(8, simulation.Run(good).Tokens.Count);
        AssertNothingHeld(engine);
    }

    [Fact]
    public void A_sampler_that_fails_oddly_fails_its_request_alone()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a");
        var good = engine.GenerateAsync(Calls.Generate("good", Calls.Prompt(9, seed: 3)));

        // Validation would refuse a bias for a token that the model does not have.
        var output = new GenerationOutput(64, engine.Core.Commands.Wake);
        var odd = new GenerateSequence(
            "odd", Calls.Prompt(11), 11, new SamplingParameters { LogitBias = new Dictionary<int, float> { [1000] = 1 } }, 200, output, engine.Core.NewBlocks(11), simulation.Time);
        engine.Core.Commands.Post(() => engine.Core.Submit(odd, null, null));
        var error = simulation.Fails(ReadAsync(output));
        Assert.Equal(RpcStatus.Internal, error.Status);
        Assert.Contains("'odd'", error.Message, StringComparison.Ordinal);
        Assert.Equal(8, simulation.Run(good).Tokens.Count);
        AssertNothingHeld(engine);
    }

    [Theory]
    [InlineData("copy")]
    [InlineData("clock")]
    [InlineData("grant")]
    [InlineData("timer")]
    public void An_admission_that_fails_oddly_fails_its_call_alone(string what)
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var (engine, other) = (simulation.Add("a"), simulation.Add("b"));
        simulation.Network.Immediate = true;
        var cached = Calls.Prompt(10);
        simulation.Run(engine.GenerateAsync(Calls.Generate("cached", cached)));
        int[] tokens = [.. cached.AsSpan(0, 7), .. Calls.Prompt(6, seed: 9)];
        var kv = simulation.Run(other.PrepAsync(Calls.Prep("s", tokens)));
        var good = engine.GenerateAsync(Calls.Generate("good", Calls.Prompt(9, seed: 3)));
        simulation.Settle();

        var odd = new InvalidTimeZoneException("odd");
        engine.Pool.OnCopy = what == "copy" ? _ => throw odd : null;
        simulation.Network.OnGrant = what == "grant" ? _ => throw odd : null;
        foreach (var start in what switch
        {
            "copy" => [() => engine.GenerateAsync(Calls.Generate("odd", tokens)), () => engine.SendAsync(Calls.Send("odd", tokens, kv)), () => engine.PrepAsync(Calls.Prep("odd", tokens))],
            "clock" => [() => engine.GenerateAsync(Calls.Generate("odd", tokens)), () => engine.SendAsync(Calls.Send("odd", tokens, kv))],
            _ => new Func<Task>[] { () => engine.PrepAsync(Calls.Prep("odd", tokens)) },
        })
        {
            var call = start();
            engine.Core.Commands.Post(() =>
            {
                simulation.Time.TimerFault = what == "timer" ? odd : null;
                simulation.Time.FaultIn = what == "clock" ? 1 : 0;
                simulation.Time.Fault = what == "clock" ? odd : null;
            });
            var error = simulation.Fails(call);
            Assert.Equal(RpcStatus.Internal, error.Status);
            Assert.Contains("InvalidTimeZoneException: odd", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal(8, simulation.Run(good).Tokens.Count);
        simulation.Settle();
        AssertNothingHeld(engine);
    }

    [Theory]
    [InlineData(KvFault.Scattered)]
    [InlineData(KvFault.Busy)]
    public void Pages_that_cannot_be_granted_are_refused_for_want_of_room(KvFault fault)
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a");
        simulation.Network.OnGrant = _ => throw new KvTransportException(fault, "no");
        Assert.Equal(RpcStatus.ResourceExhausted, simulation.Fails(engine.PrepAsync(Calls.Prep("r", Calls.Prompt(12)))).Status);
        AssertNothingHeld(engine);
    }

    [Fact]
    public void A_lease_that_cannot_be_looked_at_ends_its_reservation_alone()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a");
        _ = simulation.Run(engine.PrepAsync(Calls.Prep("odd", Calls.Prompt(12), leaseMs: 1000)));
        var kept = simulation.Run(engine.PrepAsync(Calls.Prep("kept", Calls.Prompt(12, seed: 4))));
        simulation.Time.Advance(TimeSpan.FromSeconds(1));
        simulation.Time.Fault = new InvalidTimeZoneException("odd");
        simulation.Settle();
        Assert.Equal((1, 3), (engine.Load.Reservations, engine.Load.KvPagesHeld));
        simulation.Run(engine.ReleaseAsync(kept));
        AssertNothingHeld(engine);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Pages_whose_revoke_fails_are_lost_and_nobody_waits_for_them(bool used)
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a");
        var tokens = Calls.Prompt(12);
        var kv = simulation.Run(engine.PrepAsync(Calls.Prep("odd", tokens)));
        simulation.Network.OnRevoke = _ => throw new InvalidTimeZoneException("odd");
        if (used)
        {
            var error = simulation.Fails(engine.GenerateAsync(Calls.Generate("odd", tokens, reservation: kv.ReservationId, begin: 0)));
            Assert.Equal(RpcStatus.Internal, error.Status);
        }
        else
        {
            simulation.Run(engine.ReleaseAsync(kv));
        }

        simulation.Network.OnRevoke = null;
        Assert.Equal((3, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations));
        Assert.Equal(8, simulation.Run(engine.GenerateAsync(Calls.Generate("good", tokens))).Tokens.Count);
        simulation.Run(engine.Service.DrainAsync(new DrainRequest(), default));
        engine.Core.CheckIntegrity();
    }

    [Fact]
    public async Task A_step_that_fails_ends_all_work_once_and_is_told()
    {
        var engine = Undriven();
        var loop = new EngineLoop(engine.Core);
        try
        {
            var kv = await engine.PrepAsync(Calls.Prep("held", Calls.Prompt(12)));
            var slow = engine.Service.StartGenerateAsync(Calls.Generate("slow", Calls.Prompt(9), Calls.Sampling(150)), default).GetAsyncEnumerator();
            Assert.True(await slow.MoveNextAsync());
            Assert.False(loop.Failed.IsCompleted);

            engine.Core.Commands.Post(() => throw new InvalidTimeZoneException("odd"));
            Assert.IsType<InvalidTimeZoneException>(await loop.Failed);
            var error = await Assert.ThrowsAsync<RpcException>(async () =>
            {
                while (await slow.MoveNextAsync())
                {
                }
            });
            Assert.Equal(RpcStatus.Internal, error.Status);
            Assert.Contains("odd", error.Message, StringComparison.Ordinal);

            // It still ends in order, and takes nothing new.
            await engine.Service.ShutdownAsync();
            error = await Assert.ThrowsAsync<RpcException>(() => engine.GenerateAsync(Calls.Generate("late", Calls.Prompt(9))));
            Assert.Equal(RpcStatus.Unavailable, error.Status);
            error = await Assert.ThrowsAsync<RpcException>(() => engine.ReleaseAsync(kv));
            Assert.Equal(RpcStatus.NotFound, error.Status);
        }
        finally
        {
            loop.Dispose();
        }

        AssertNothingHeld(engine);
    }

    [Fact]
    public async Task A_second_failing_step_ends_the_loop_and_not_the_process()
    {
        var engine = Undriven();
        var second = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        engine.Core.Commands.Post(() => throw new InvalidTimeZoneException("first"));
        engine.Core.Commands.Post(() =>
        {
            second.SetResult();
            throw new InvalidTimeZoneException("second");
        });
        using var loop = new EngineLoop(engine.Core);
        await second.Task;
        Assert.Equal("first", (await loop.Failed).Message);
    }

    /// <summary>An engine for a loop to drive: the simulation that made it is over.</summary>
    private static SimulatedEngine Undriven()
    {
        using var simulation = new Simulation();
        simulation.Network.Immediate = true;
        return simulation.Add("a", limits: new EngineLimits { OutputChunks = 3 });
    }

    private static async Task ReadAsync(GenerationOutput output)
    {
        await foreach (var chunk in output.ReadAsync(default))
        {
            Assert.Empty(chunk.TokenIds);
        }
    }

    private static void AssertNothingHeld(SimulatedEngine engine)
    {
        engine.Core.CheckIntegrity();
        Assert.True(engine.Core.IsIdle);
        Assert.Equal((0, 0, 0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations, engine.Load.Running, engine.Load.Waiting));
    }
}
