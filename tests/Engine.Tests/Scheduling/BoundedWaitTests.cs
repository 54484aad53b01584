using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
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

    [Fact]
    public void A_send_to_a_receiver_that_hangs_is_given_up_and_the_reservation_left_to_its_lease()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var sender = simulation.Add("a", limits: new EngineLimits { SendTimeout = TimeSpan.FromSeconds(5) });
        var receiver = simulation.Add("b", limits: new EngineLimits { DefaultLease = TimeSpan.FromSeconds(20) });
        var tokens = Calls.Prompt(12);
        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("s", tokens)));
        simulation.Network.Hangs = _ => true;
        var send = sender.SendAsync(Calls.Send("s", tokens, kv));
        simulation.Settle();
        simulation.Advance(TimeSpan.FromSeconds(4.9));
        Assert.Equal((false, 3), (send.IsCompleted, sender.Load.KvPagesHeld));

        simulation.Advance(TimeSpan.FromSeconds(0.1));
        var error = simulation.Fails(send);
        Assert.Equal(RpcStatus.Unavailable, error.Status);
        Assert.Contains("--send-timeout (5 s)", error.Message, StringComparison.Ordinal);
        Assert.Equal((0, 0, 1), (sender.Load.KvPagesHeld, sender.Load.Running, receiver.Load.Reservations));

        simulation.Advance(TimeSpan.FromSeconds(15));
        Assert.Equal((0, 0), (receiver.Load.KvPagesHeld, receiver.Load.Reservations));
    }

    [Fact]
    public void A_send_that_goes_on_slowly_is_waited_for_though_not_for_ever()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var limits = new EngineLimits { SendTimeout = TimeSpan.FromSeconds(5), MaxLease = TimeSpan.FromSeconds(60), MaxBatchTokens = 4, MaxSequences = 4 };
        var (sender, receiver) = (simulation.Add("a", limits: limits), simulation.Add("b"));
        Assert.Equal(8, simulation.Run(SendSlowly(8)).SentTokens);

        // With so many pieces it would take longer than any reservation lives.
        Assert.Contains("--send-timeout", simulation.Fails(SendSlowly(40)).Message, StringComparison.Ordinal);
        Assert.Equal(0, sender.Load.KvPagesHeld);

        Task<RemoteSendReply> SendSlowly(int length)
        {
            var tokens = Calls.Prompt(length, seed: length);
            var send = sender.SendAsync(Calls.Send("s", tokens, simulation.Run(receiver.PrepAsync(Calls.Prep("s", tokens)))));
            while (sender.Core.Step())
            {
            }

            for (var copies = 0; simulation.Network.Pending is [var session, ..]; copies++)
            {
                Assert.True(copies < 20, "It is waited for too long");
                simulation.Network.PumpOne(session);
                simulation.Network.PumpOne(session);
                simulation.Time.Advance(TimeSpan.FromSeconds(4));
                while (simulation.RunContinuations() | sender.Core.Step())
                {
                }
            }

            return send;
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_sender_that_is_alive_but_stuck_does_not_keep_a_reservation(bool withinWrite)
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var sender = simulation.Add("a", limits: new EngineLimits { SendTimeout = TimeSpan.FromHours(1) });
        var receiver = simulation.Add("b", limits: new EngineLimits { DefaultLease = TimeSpan.FromSeconds(20), MaxWait = TimeSpan.FromSeconds(5) });
        var tokens = Calls.Prompt(12);
        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("s", tokens)));
        var send = sender.SendAsync(Calls.Send("s", tokens, kv));
        while (sender.Core.Step())
        {
        }

        // One layer, and half of another: the lease begins anew when that is seen.
        var stuck = simulation.Network.Pending[0];
        for (var copies = 0; copies < (withinWrite ? 3 : 2); copies++)
        {
            simulation.Network.PumpOne(stuck);
        }

        simulation.Network.Hangs = _ => true;
        simulation.Advance(TimeSpan.FromSeconds(20));
        Assert.Equal(1, receiver.Load.Reservations);
        simulation.Advance(TimeSpan.FromSeconds(20));
        Assert.Equal(RpcStatus.NotFound, simulation.Fails(receiver.ReleaseAsync(kv)).Status);

        // Within a write it may write still, so its pages are nobody's until it leaves.
        Assert.Equal(withinWrite ? 3 : 0, receiver.Load.KvPagesHeld);
        simulation.Network.Hangs = _ => false;
        Assert.Equal(RpcStatus.FailedPrecondition, simulation.Fails(send).Status);
        simulation.Settle();
        Assert.Equal((0, 0), (receiver.Load.KvPagesHeld, receiver.Load.Reservations));
    }

    [Fact]
    public void A_sender_that_goes_on_for_ever_does_not_keep_a_reservation_beyond_the_longest_lease()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var sender = simulation.Add("a", limits: new EngineLimits { SendTimeout = TimeSpan.FromHours(1) });
        var receiver = simulation.Add("b", limits: new EngineLimits { DefaultLease = TimeSpan.FromSeconds(20), MaxLease = TimeSpan.FromSeconds(70) });
        var tokens = Calls.Prompt(40);
        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("s", tokens)));
        simulation.Network.Hangs = _ => true;
        var send = sender.SendAsync(Calls.Send("s", tokens, kv));
        simulation.Settle();
        for (var seconds = 0; seconds < 70; seconds += 10)
        {
            Assert.Equal(1, receiver.Load.Reservations);
            simulation.Network.Sessions[0].Grant.SharedWrites++;
            simulation.Advance(TimeSpan.FromSeconds(10));
        }

        Assert.Equal((0, 0), (receiver.Load.KvPagesHeld, receiver.Load.Reservations));
        simulation.Network.Hangs = _ => false;
        Assert.Equal(RpcStatus.FailedPrecondition, simulation.Fails(send).Status);
    }

    [Fact]
    public void Calls_that_wait_for_a_sender_stuck_within_a_write_are_answered_in_time()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var limits = new EngineLimits { MaxWait = TimeSpan.FromSeconds(5), SendTimeout = TimeSpan.FromHours(1) };
        var (sender, receiver) = (simulation.Add("a", limits: limits), simulation.Add("b", limits: limits));
        var calls = new List<Task>();
        for (var call = 0; call < 3; call++)
        {
            var (id, tokens) = ($"r{call}", Calls.Prompt(12, seed: 10 + call));
            var kv = simulation.Run(receiver.PrepAsync(Calls.Prep(id, tokens)));
            _ = sender.SendAsync(Calls.Send(id, tokens, kv));
            while (sender.Core.Step())
            {
            }

            simulation.Network.PumpOne(simulation.Network.Sessions[^1]);
            simulation.Network.Hangs = _ => true;
            calls.Add(call switch
            {
                0 => receiver.GenerateAsync(Calls.Generate(id, tokens, reservation: kv.ReservationId, begin: 0)),
                1 => receiver.ReleaseAsync(kv),
                _ => receiver.Service.AbortAsync(new AbortRequest { RequestId = id }, default),
            });
        }

        simulation.Settle();
        Assert.Equal((9, 1), (receiver.Load.KvPagesHeld, receiver.Load.Waiting));
        Assert.True(IsWokenAfter(TimeSpan.FromSeconds(5), simulation, receiver));
        foreach (var call in calls)
        {
            var error = simulation.Fails(call);
            Assert.Equal(RpcStatus.Unavailable, error.Status);
            Assert.Contains("--max-wait (5 s)", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal((9, 0), (receiver.Load.KvPagesHeld, receiver.Load.Waiting));
        simulation.Network.Hangs = _ => false;
        simulation.Settle();
        Assert.Equal((0, 0), (receiver.Load.KvPagesHeld, receiver.Load.Reservations));
    }

    [Fact]
    public void Readers_that_do_not_read_take_no_place_in_the_queue_and_are_bounded_in_number_and_time()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", limits: new EngineLimits
        {
            OutputChunks = 2,
            MaxSequences = 1,
            MaxWaiting = 2,
            MaxPause = TimeSpan.FromSeconds(1),
            MaxUnread = TimeSpan.FromSeconds(100),
        });
        var readers = new List<IAsyncEnumerator<GenerateChunk>>();
        for (var reader = 0; reader < 4; reader++)
        {
            readers.Add(engine.Service.StartGenerateAsync(Calls.Generate($"r{reader}", Calls.Prompt(5, seed: reader), Calls.Sampling(50)), default).GetAsyncEnumerator());
            var first = readers[reader].MoveNextAsync().AsTask();
            simulation.Settle();
            simulation.Advance(TimeSpan.FromSeconds(1));
            Assert.True(simulation.Run(first));
            simulation.Settle();
        }

        // Each that wants the seat sends one more to wait for its reader, and no more than two may.
        var other = engine.GenerateAsync(Calls.Generate("other", Calls.Prompt(6)));
        simulation.Settle();
        simulation.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(8, simulation.Run(other).Tokens.Count);
        AssertAborted(readers[0], "--max-waiting");
        AssertAborted(readers[1], "--max-waiting");

        Assert.Equal((0, 2), (engine.Load.Running, engine.Load.Waiting));
        simulation.Advance(TimeSpan.FromSeconds(97));
        Assert.Equal((0, 2), (engine.Load.Running, engine.Load.Waiting));
        Assert.True(IsWokenAfter(TimeSpan.FromSeconds(3), simulation, engine));
        foreach (var reader in readers[2..])
        {
            AssertAborted(reader, "--max-unread (100 s)");
        }

        void AssertAborted(IAsyncEnumerator<GenerateChunk> reader, string setting)
        {
            var error = simulation.Fails(ReadOnAsync(reader));
            Assert.Equal(RpcStatus.Aborted, error.Status);
            Assert.Contains(setting, error.Message, StringComparison.Ordinal);
        }
    }

    private static async Task ReadOnAsync(IAsyncEnumerator<GenerateChunk> reader)
    {
        while (await reader.MoveNextAsync())
        {
        }
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
