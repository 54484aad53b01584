using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Service;

/// <summary>Faults that an earlier implementation of microserving is known to have, each shown to be absent.</summary>
public sealed class KnownFaultsTests
{
    [Fact]
    public void Fault_1_a_preempted_generation_goes_on_from_the_tokens_it_emitted()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a", pages: 10, contextLength: 40);
        var roomy = simulation.Add("b", pages: 64, contextLength: 40);
        var requests = Enumerable.Range(0, 3).Select(index => Calls.Generate($"r{index}", Calls.Prompt(8, seed: index), Calls.Sampling(20, temperature: 1))).ToList();

        var outputs = simulation.Run(Task.WhenAll(requests.Select(request => engine.GenerateAsync(request))));
        Assert.True(engine.Load.Preemptions > 0, "The pool was to be too small for all three");
        Assert.Contains(outputs, output => output.Timings!.Preemptions > 0);
        foreach (var (request, output) in requests.Zip(outputs))
        {
            Assert.Equal(20, output.Tokens.Count);
            Assert.Equal(simulation.Run(roomy.GenerateAsync(request)).Tokens, output.Tokens);
        }
    }

    [Fact]
    public void Fault_2_counts_return_to_zero_after_preemption_and_disconnect()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a", pages: 10, contextLength: 40);
        using var gone = new CancellationTokenSource();
        var calls = Enumerable.Range(0, 4)
            .Select(index => engine.GenerateAsync(Calls.Generate($"r{index}", Calls.Prompt(8, seed: index), Calls.Sampling(25)), cancellationToken: index == 1 ? gone.Token : default))
            .ToList();
        simulation.RunUntil(() => engine.Load.Preemptions > 0);
        gone.Cancel();
        simulation.RunUntil(() => calls.TrueForAll(call => call.IsCompleted));
        simulation.Settle();
        Assert.True(calls[1].IsCanceled);
        Assert.Equal((0, 0, 0, 0), (engine.Load.Running, engine.Load.Waiting, engine.Load.KvPagesHeld, engine.Load.PrefillTokensQueued));
    }

    [Fact]
    public void Fault_2_a_cancelled_generation_has_its_pages_back_within_one_step()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a");
        using var gone = new CancellationTokenSource();
        var call = engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(20), Calls.Sampling(100)), cancellationToken: gone.Token);
        simulation.RunUntil(() => engine.Load.TokensGenerated > 3);
        Assert.NotEqual(0, engine.Load.KvPagesHeld);

        gone.Cancel();
        simulation.RunUntil(() => call.IsCompleted);
        var steps = engine.Runner.Steps;
        engine.Core.Step();
        Assert.Equal((0, steps), (engine.Load.KvPagesHeld, engine.Runner.Steps));
    }

    [Fact]
    public void Fault_3_pages_of_a_reservation_never_used_come_back_by_abort_release_and_lease()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a");
        var tokens = Calls.Prompt(20);

        var aborted = simulation.Run(engine.PrepAsync(Calls.Prep("aborted", tokens)));
        Assert.Equal((5, 1), (engine.Load.KvPagesHeld, engine.Load.Reservations));
        simulation.Run(engine.Service.AbortAsync(new AbortRequest { RequestId = "aborted" }, default));
        Assert.Equal((0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations));

        simulation.Run(engine.ReleaseAsync(simulation.Run(engine.PrepAsync(Calls.Prep("released", tokens)))));
        Assert.Equal(0, engine.Load.KvPagesHeld);

        var forgotten = simulation.Run(engine.PrepAsync(Calls.Prep("forgotten", tokens, leaseMs: 5000)));
        simulation.Advance(TimeSpan.FromSeconds(4.9));
        Assert.Equal(5, engine.Load.KvPagesHeld);
        simulation.Advance(TimeSpan.FromSeconds(0.2));
        Assert.Equal((0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations));
        Assert.Equal(RpcStatus.NotFound, simulation.Fails(engine.ReleaseAsync(forgotten)).Status);
        Assert.Equal(RpcStatus.NotFound, simulation.Fails(engine.GenerateAsync(Calls.Generate("aborted", tokens, reservation: aborted.ReservationId))).Status);
    }

    [Theory]
    [InlineData(0, 21)]
    [InlineData(0, -21)]
    [InlineData(21, null)]
    [InlineData(-21, null)]
    [InlineData(12, 11)]
    [InlineData(-2, -3)]
    [InlineData(int.MinValue, null)]
    [InlineData(0, int.MaxValue)]
    public void Fault_4_a_bad_window_is_an_error_that_names_it_and_the_engine_goes_on(int begin, int? end)
    {
        using var simulation = new Simulation();
        var (engine, other) = (simulation.Add("a"), simulation.Add("b"));
        var tokens = Calls.Prompt(20);
        var kv = simulation.Run(other.PrepAsync(Calls.Prep("r", tokens)));

        var send = simulation.Fails(engine.SendAsync(Calls.Send("r", tokens, kv, begin, end)));
        Assert.Equal(RpcStatus.InvalidArgument, send.Status);
        Assert.Matches("^(begin|end) is -?[0-9]+; it must be ", send.Message);
        if (end is > 20 or < -20)
        {
            Assert.Equal(RpcStatus.InvalidArgument, simulation.Fails(engine.PrepAsync(Calls.Prep("r", tokens, end))).Status);
        }

        if (begin is > 20 or < -20)
        {
            Assert.Equal(RpcStatus.InvalidArgument, simulation.Fails(engine.GenerateAsync(Calls.Generate("r", tokens, begin: begin))).Status);
        }

        Assert.Equal(8, simulation.Run(engine.GenerateAsync(Calls.Generate("r", tokens))).Tokens.Count);
        Assert.Equal(0, engine.Load.KvPagesHeld);
    }

    [Fact]
    public void Fault_5_waiting_for_pages_is_bounded_and_says_when_to_retry()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", pages: 10, new EngineLimits { MaxWait = TimeSpan.FromSeconds(7) }, contextLength: 40);
        _ = simulation.Run(engine.PrepAsync(Calls.Prep("holder", Calls.Prompt(36))));
        Task[] waiting =
        [
            engine.GenerateAsync(Calls.Generate("head", Calls.Prompt(30, seed: 2))),
            engine.PrepAsync(Calls.Prep("second", Calls.Prompt(30, seed: 3))),
            engine.GenerateAsync(Calls.Generate("third", Calls.Prompt(30, seed: 4))),
        ];
        simulation.Settle();
        Assert.Equal(3, engine.Load.Waiting);
        simulation.Advance(TimeSpan.FromSeconds(6.9));
        Assert.Equal(3, engine.Load.Waiting);
        simulation.Advance(TimeSpan.FromSeconds(0.2));
        foreach (var call in waiting)
        {
            var error = simulation.Fails(call);
            Assert.Equal(RpcStatus.ResourceExhausted, error.Status);
            Assert.NotNull(error.RetryAfter);
            Assert.Contains("--kv-memory", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal(0, engine.Load.Waiting);
    }

    [Fact]
    public void Fault_6_the_last_prompt_token_does_not_count_as_generated()
    {
        using var simulation = new Simulation();
        var (engine, other) = (simulation.Add("a"), simulation.Add("b"));
        var tokens = Calls.Prompt(9);
        var sampling = Calls.Sampling(maxTokens: 1);
        sampling.StopTokenIds.Add(tokens[^1]);
        var plain = simulation.Run(engine.GenerateAsync(Calls.Generate("plain", tokens, sampling)));
        Assert.Equal((1, FinishReason.Length, 1), (plain.Tokens.Count, plain.Reason, plain.Usage!.CompletionTokens));

        // A prompt whose likeliest next token is its last one again: a penalty on generated tokens must leave that choice as it is, sent or local.
        tokens = Enumerable.Range(0, 1000).Select(seed => Calls.Prompt(9, seed)).First(prompt =>
            simulation.Run(engine.GenerateAsync(Calls.Generate("search", prompt, Calls.Sampling(maxTokens: 1)))).Tokens[0] == prompt[^1]);
        sampling = Calls.Sampling(maxTokens: 2);
        sampling.FrequencyPenalty = 2;
        sampling.PresencePenalty = 2;
        var local = simulation.Run(engine.GenerateAsync(Calls.Generate("penalised", tokens, sampling)));
        Assert.Equal(tokens[^1], local.Tokens[0]);
        var kv = simulation.Run(other.PrepAsync(Calls.Prep("sent", tokens, end: -1)));
        _ = simulation.Run(engine.SendAsync(Calls.Send("sent", tokens, kv)));
        var sent = simulation.Run(other.GenerateAsync(Calls.Generate("sent", tokens, sampling, kv.ReservationId, begin: -1)));
        Assert.Equal(local.Tokens, sent.Tokens);
        Assert.Equal((9, 8), (sent.Usage!.PromptTokens, sent.Usage.CachedTokens));
    }

    [Theory]
    [InlineData(20)]
    [InlineData(19)]
    [InlineData(17)]
    [InlineData(3)]
    public void Fault_7_what_the_sender_has_cached_is_copied_and_nothing_computed(int end)
    {
        using var simulation = new Simulation();
        var (sender, receiver) = (simulation.Add("a"), simulation.Add("b"));
        var tokens = Calls.Prompt(20);
        _ = simulation.Run(sender.GenerateAsync(Calls.Generate("warm", tokens, Calls.Sampling(3))));
        var computed = sender.Runner.TokensComputed;

        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("r", tokens, end)));
        var sent = simulation.Run(sender.SendAsync(Calls.Send("r", tokens, kv)));
        Assert.Equal((end, end, 0), (sent.SentTokens, sent.CachedTokens, sent.ComputedTokens));
        Assert.Equal(computed, sender.Runner.TokensComputed);
        Assert.Equal(0, sender.Load.KvPagesHeld);

        // The receiver's own cache answers the next one.
        var again = simulation.Run(receiver.PrepAsync(Calls.Prep("again", tokens, end)));
        Assert.Equal((end, end), (again.MatchedTokens, again.End));
        Assert.Equal("none", simulation.Run(sender.SendAsync(Calls.Send("again", tokens, again))).Transport);
    }

    [Fact]
    public void Fault_8_kv_is_matchable_when_all_of_it_has_arrived_and_not_before()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var (sender, receiver) = (simulation.Add("a"), simulation.Add("b"));
        var tokens = Calls.Prompt(18);
        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("r", tokens)));
        var half = simulation.Run(sender.SendAsync(Calls.Send("r", tokens, kv, begin: 0, end: 9)));
        Assert.Equal(9, half.SentTokens);
        Assert.Equal(0, simulation.Run(receiver.PrepAsync(Calls.Prep("probe", tokens))).MatchedTokens);
        var early = simulation.Fails(receiver.GenerateAsync(Calls.Generate("r", tokens, reservation: kv.ReservationId)));
        Assert.Equal(RpcStatus.FailedPrecondition, early.Status);
        Assert.Contains("9 of 18", early.Message, StringComparison.Ordinal);

        _ = simulation.Run(sender.SendAsync(Calls.Send("r", tokens, kv, begin: 9)));
        Assert.Equal(18, simulation.Run(receiver.PrepAsync(Calls.Prep("probe2", tokens))).MatchedTokens);

        // It stays when the reservation has ended.
        foreach (var id in new[] { "r", "probe", "probe2" })
        {
            simulation.Run(receiver.Service.AbortAsync(new AbortRequest { RequestId = id }, default));
        }

        Assert.Equal(0, receiver.Load.KvPagesHeld);
        Assert.Equal(18, simulation.Run(receiver.PrepAsync(Calls.Prep("later", tokens))).MatchedTokens);
        Assert.Equal(0, receiver.Runner.TokensComputed);
    }

    [Fact]
    public void Fault_9_prefill_that_waits_is_told_as_load()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", limits: new EngineLimits { MaxBatchTokens = 16, MaxSequences = 1 });
        var first = engine.GenerateAsync(Calls.Generate("first", Calls.Prompt(40)));
        var second = engine.GenerateAsync(Calls.Generate("second", Calls.Prompt(50, seed: 2)));
        engine.Core.Step();
        Assert.Equal((1, 1, 40 - 16 + 50), (engine.Load.Running, engine.Load.Waiting, engine.Load.PrefillTokensQueued));
        engine.Core.Step();
        Assert.Equal(40 - 32 + 50, engine.Load.PrefillTokensQueued);
        simulation.Run(Task.WhenAll(first, second));
        Assert.Equal(0, engine.Load.PrefillTokensQueued);
        Assert.Equal(90ul, engine.Load.TokensPrefilled);
    }

    [Fact]
    public void A_late_sender_cannot_write_into_reused_pages()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var (sender, receiver) = (simulation.Add("a"), simulation.Add("b", pages: 6, contextLength: 24));
        var tokens = Calls.Prompt(20);
        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("r", tokens)));
        var send = sender.SendAsync(Calls.Send("r", tokens, kv));
        sender.Core.Step();
        simulation.Network.PumpOne(simulation.Network.Pending[0]);

        // The sender is inside a copy: the reservation has ended, and its pages are still nobody else's.
        var release = receiver.ReleaseAsync(kv);
        receiver.Core.Step();
        Assert.Equal(5, receiver.Load.KvPagesHeld);
        var next = receiver.PrepAsync(Calls.Prep("next", Calls.Prompt(20, seed: 5)));
        receiver.Core.Step();
        Assert.False(next.IsCompleted);

        simulation.Run(release);
        var granted = simulation.Run(next);
        Assert.Equal(RpcStatus.FailedPrecondition, simulation.Fails(send).Status);
        Assert.Equal(0, granted.MatchedTokens);
        Assert.Equal(0, sender.Load.KvPagesHeld);
    }
}
