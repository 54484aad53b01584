using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Service;

public sealed class EngineServiceTests
{
    [Fact]
    public void Split_balanced_and_migrated_generations_equal_the_local_one()
    {
        using var simulation = new Simulation(3);
        var (local, prefill, decode) = (simulation.Add("l"), simulation.Add("p"), simulation.Add("d"));
        for (var length = 1; length < 26; length++)
        {
            var tokens = Calls.Prompt(length, seed: length);
            var sampling = Calls.Sampling(9, temperature: 1, seed: 5);
            sampling.Logprobs = 2;
            var alone = simulation.Run(local.GenerateAsync(Calls.Generate("r", tokens, sampling)));
            foreach (var end in new[] { length, length - 1, length / 2 })
            {
                var kv = simulation.Run(decode.PrepAsync(Calls.Prep("r", tokens, end)));
                _ = simulation.Run(prefill.SendAsync(Calls.Send("r", tokens, kv)));
                var split = simulation.Run(decode.GenerateAsync(Calls.Generate("r", tokens, sampling, kv.ReservationId, begin: end)));
                Assert.Equal(alone.Tokens, split.Tokens);
                Assert.Equal(alone.Logprobs, split.Logprobs);
                Assert.Equal(Math.Min(end, length - 1), split.Usage!.CachedTokens);
            }
        }
    }

    [Fact]
    public void A_reservation_whose_kv_never_came_can_still_be_used_for_what_it_matched()
    {
        using var simulation = new Simulation();
        var (local, engine) = (simulation.Add("l"), simulation.Add("a"));
        var tokens = Calls.Prompt(22);
        _ = simulation.Run(engine.GenerateAsync(Calls.Generate("warm", tokens[..10], Calls.Sampling(1))));
        var kv = simulation.Run(engine.PrepAsync(Calls.Prep("r", tokens)));
        Assert.Equal(10, kv.MatchedTokens);
        Assert.Equal(RpcStatus.FailedPrecondition, simulation.Fails(engine.GenerateAsync(Calls.Generate("r", tokens, reservation: kv.ReservationId, begin: 11))).Status);
        var generated = simulation.Run(engine.GenerateAsync(Calls.Generate("r", tokens, reservation: kv.ReservationId, begin: 10)));
        Assert.Equal(simulation.Run(local.GenerateAsync(Calls.Generate("r", tokens))).Tokens, generated.Tokens);
        Assert.Equal((10, 0), (generated.Usage!.CachedTokens, engine.Load.KvPagesHeld));
    }

    [Fact]
    public void A_reservation_of_other_tokens_is_refused_and_stays()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a");
        var kv = simulation.Run(engine.PrepAsync(Calls.Prep("r", Calls.Prompt(12))));
        var error = simulation.Fails(engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(12, seed: 9), reservation: kv.ReservationId)));
        Assert.Equal(RpcStatus.FailedPrecondition, error.Status);
        Assert.Equal(RpcStatus.NotFound, simulation.Fails(engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(12), reservation: "no-such"))).Status);
        Assert.Equal(1, engine.Load.Reservations);
    }

    [Fact]
    public void A_forged_address_is_refused_and_nothing_is_held()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a");
        var error = simulation.Fails(engine.SendAsync(Calls.Send("r", Calls.Prompt(12), new PrepRecvReply { End = 12 })));
        Assert.Equal(RpcStatus.Unauthenticated, error.Status);
        Assert.Equal((0, 0), (engine.Load.KvPagesHeld, engine.Runner.TokensComputed));
    }

    [Fact]
    public void Kv_of_other_tokens_than_were_reserved_for_is_not_sent_and_cannot_spoil_the_receivers_cache()
    {
        using var simulation = new Simulation(2);
        var (sender, receiver, local) = (simulation.Add("a"), simulation.Add("b"), simulation.Add("l"));
        var (tokens, others) = (Calls.Prompt(12), Calls.Prompt(12, seed: 9));
        var kv = simulation.Run(receiver.PrepAsync(Calls.Prep("r", tokens)));
        foreach (var wrong in new[] { others, tokens[..11] })
        {
            var error = simulation.Fails(sender.SendAsync(Calls.Send("r", wrong, new PrepRecvReply { KvAddress = kv.KvAddress, End = wrong.Length })));
            Assert.Equal(RpcStatus.FailedPrecondition, error.Status);
            Assert.Contains("other tokens", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal((0, 0, 0), (sender.Runner.TokensComputed, sender.Load.KvPagesHeld, receiver.Load.KvPagesCached));
        _ = simulation.Run(sender.SendAsync(Calls.Send("r", tokens, kv)));
        Assert.Equal(
            simulation.Run(local.GenerateAsync(Calls.Generate("r", tokens))).Tokens,
            simulation.Run(receiver.GenerateAsync(Calls.Generate("r", tokens, reservation: kv.ReservationId, begin: 12))).Tokens);
    }

    [Fact]
    public void A_slow_reader_pauses_its_own_generation_only()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", limits: new EngineLimits { OutputChunks = 3 });
        var slow = engine.Service.StartGenerateAsync(Calls.Generate("slow", Calls.Prompt(5), Calls.Sampling(50)), default).GetAsyncEnumerator();
        var first = slow.MoveNextAsync().AsTask();
        Assert.True(simulation.Run(first));
        Assert.Equal(50, simulation.Run(engine.GenerateAsync(Calls.Generate("fast", Calls.Prompt(6), Calls.Sampling(50)))).Tokens.Count);
        simulation.Settle();

        // One was read, and three lie unread.
        Assert.Equal(54ul, engine.Load.TokensGenerated);
        var tokens = 1;
        while (simulation.Run(slow.MoveNextAsync().AsTask()))
        {
            tokens++;
        }

        Assert.Equal(50, tokens);
        Assert.Equal(0, engine.Load.KvPagesHeld);
    }

    [Fact]
    public void A_failing_step_fails_its_requests_and_the_engine_goes_on()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a");
        engine.Runner.OnForward = _ => throw new InvalidOperationException("out of order");
        var error = simulation.Fails(engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(9))));
        Assert.Equal(RpcStatus.Internal, error.Status);
        Assert.Contains("out of order", error.Message, StringComparison.Ordinal);
        engine.Runner.OnForward = null;
        Assert.Equal(8, simulation.Run(engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(9)))).Tokens.Count);
        Assert.Equal(0, engine.Load.KvPagesHeld);
    }

    [Fact]
    public void Damaged_logits_fail_their_request_alone_and_leave_no_cache()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a");
        int[] bad = [.. Calls.Prompt(11), 31];
        engine.Runner.PoisonToken = 31;
        var sampling = Calls.Sampling(6);
        sampling.LogitBias.Add(31, -100);
        var good = engine.GenerateAsync(Calls.Generate("good", Calls.Prompt(11, seed: 4).Select(token => token == 31 ? 2 : token).ToArray(), sampling));
        Assert.Equal(RpcStatus.Internal, simulation.Fails(engine.GenerateAsync(Calls.Generate("bad", bad))).Status);
        Assert.Equal(6, simulation.Run(good).Tokens.Count);

        engine.Runner.PoisonToken = null;
        Assert.Equal(0, simulation.Run(engine.GenerateAsync(Calls.Generate("bad", bad, Calls.Sampling(1)))).Usage!.CachedTokens);
    }

    [Fact]
    public void A_resumed_generation_counts_what_was_generated_before()
    {
        using var simulation = new Simulation();
        var (engine, other) = (simulation.Add("a"), simulation.Add("b"));
        var prompt = Calls.Prompt(10);
        var sampling = Calls.Sampling(12, temperature: 1, seed: 8);
        (sampling.FrequencyPenalty, sampling.RepetitionPenalty) = (1, 1.2f);
        var whole = simulation.Run(engine.GenerateAsync(Calls.Generate("r", prompt, sampling)));
        for (var emitted = 1; emitted <= 12; emitted++)
        {
            var rest = simulation.Run(other.GenerateAsync(Calls.Generate("r", [.. prompt, .. whole.Tokens[..emitted]], sampling, resumeAfter: 10)));
            Assert.Equal(whole.Tokens[emitted..], rest.Tokens);
            Assert.Equal((FinishReason.Length, 10, 12), (rest.Reason, rest.Usage!.PromptTokens, rest.Usage.CompletionTokens));
        }
    }

    [Fact]
    public void Generation_ends_at_end_tokens_stop_tokens_and_the_context()
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a", contextLength: 30);
        var prompt = Calls.Prompt(10);
        var free = simulation.Run(engine.GenerateAsync(Calls.Generate("free", prompt, Calls.Sampling(100))));
        Assert.Equal((20, FinishReason.Length), (free.Tokens.Count, free.Reason));

        var sampling = Calls.Sampling(100);
        sampling.StopTokenIds.Add(free.Tokens[4]);
        var stopped = simulation.Run(engine.GenerateAsync(Calls.Generate("stopped", prompt, sampling)));
        Assert.Equal(FinishReason.Stop, stopped.Reason);
        Assert.Equal(free.Tokens[..(free.Tokens.IndexOf(free.Tokens[4]) + 1)], stopped.Tokens);

        sampling = Calls.Sampling(100);
        sampling.IgnoreEos = false;
        sampling.LogitBias.Add(1, 100);
        sampling.MinTokens = 3;
        var ended = simulation.Run(engine.GenerateAsync(Calls.Generate("ended", prompt, sampling)));
        Assert.Equal((FinishReason.Stop, 4, 1), (ended.Reason, ended.Tokens.Count, ended.Tokens[^1]));
    }

    [Fact]
    public void Abort_ends_all_that_a_request_holds()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var (engine, other) = (simulation.Add("a"), simulation.Add("b"));
        var tokens = Calls.Prompt(20);
        _ = simulation.Run(engine.PrepAsync(Calls.Prep("r", tokens)));
        var kv = simulation.Run(other.PrepAsync(Calls.Prep("elsewhere", tokens)));
        var generate = engine.GenerateAsync(Calls.Generate("r", tokens, Calls.Sampling(100)));
        var send = engine.SendAsync(Calls.Send("r", tokens, kv));
        var bystander = engine.GenerateAsync(Calls.Generate("other", tokens, Calls.Sampling(5)));
        engine.Core.Step();
        engine.Core.Step();

        simulation.Run(engine.Service.AbortAsync(new AbortRequest { RequestId = "r" }, default));
        Assert.Equal(FinishReason.Abort, simulation.Run(generate).Reason);
        Assert.Equal(RpcStatus.Cancelled, simulation.Fails(send).Status);
        Assert.Equal(5, simulation.Run(bystander).Tokens.Count);
        Assert.Equal((0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations));
    }

    [Fact]
    public void A_draining_engine_finishes_what_it_has_and_takes_nothing_new()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a");
        var tokens = Calls.Prompt(12);
        var kv = simulation.Run(engine.PrepAsync(Calls.Prep("held", tokens)));
        var running = engine.GenerateAsync(Calls.Generate("r", tokens, Calls.Sampling(30)));
        engine.Core.Step();
        var drain = engine.Service.DrainAsync(new DrainRequest(), default);
        Assert.Equal(RpcStatus.Unavailable, simulation.Fails(engine.GenerateAsync(Calls.Generate("new", tokens))).Status);
        Assert.Equal(RpcStatus.Unavailable, simulation.Fails(engine.PrepAsync(Calls.Prep("new", tokens))).Status);
        Assert.Equal(30, simulation.Run(running).Tokens.Count);
        Assert.False(drain.IsCompleted);
        Assert.Equal(8, simulation.Run(engine.GenerateAsync(Calls.Generate("held", tokens, reservation: kv.ReservationId, begin: 0))).Tokens.Count);
        simulation.Run(drain);
        Assert.Equal(EngineState.Draining, engine.Core.Status.Current.State);
    }

    [Fact]
    public void Watchers_hear_the_whole_cache_first_and_then_its_changes()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", pages: 8, contextLength: 30);
        _ = simulation.Run(engine.GenerateAsync(Calls.Generate("warm", Calls.Prompt(9), Calls.Sampling(1))));
        using var gone = new CancellationTokenSource();
        var heard = new HashSet<ulong>();
        var statuses = 0;
        async Task<bool> WatchAsync()
        {
            await foreach (var status in engine.Service.WatchStatusAsync(new WatchStatusRequest { MinIntervalMs = 100 }, gone.Token))
            {
                Assert.Equal(statuses++ == 0, status.CacheEvents is [{ Cleared: true }]);
                foreach (var change in status.CacheEvents)
                {
                    heard.ExceptWith(change.Removed);
                    heard.UnionWith(change.Stored);
                }
            }

            return true;
        }

        var watch = WatchAsync();
        simulation.RunUntil(() => statuses == 1);
        Assert.Equal(2, heard.Count);
        for (var round = 0; round < 12; round++)
        {
            _ = simulation.Run(engine.GenerateAsync(Calls.Generate("r", Calls.Prompt(15, seed: round), Calls.Sampling(6))));
            Assert.Equal(round + 1, statuses);
            simulation.Advance(TimeSpan.FromMilliseconds(100));
            Assert.Equal(round + 2, statuses);
        }

        var whole = simulation.Run(FirstAsync(engine));
        Assert.Equal(whole.CacheEvents[0].Stored.ToHashSet(), heard);
        gone.Cancel();
        simulation.RunUntil(() => watch.IsCompleted);
        Assert.True(watch.IsCanceled);
    }

    [Theory]
    [MemberData(nameof(WrongRequests))]
    public void A_wrong_field_is_named_with_its_value_and_limit(string field, Action<StartGenerateRequest> spoil)
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("a");
        var request = Calls.Generate("r", Calls.Prompt(5));
        spoil(request);
        var error = simulation.Fails(engine.GenerateAsync(request));
        Assert.Equal(RpcStatus.InvalidArgument, error.Status);
        Assert.StartsWith(field, error.Message, StringComparison.Ordinal);
        Assert.Contains("must be", error.Message, StringComparison.Ordinal);
        Assert.True(engine.Core.IsIdle);
    }

    public static TheoryData<string, Action<StartGenerateRequest>> WrongRequests => new()
    {
        { "request_id", request => request.RequestId = "" },
        { "request_id", request => request.RequestId = new string('x', 257) },
        { "token_ids", request => request.TokenIds.Clear() },
        { "token_ids[2]", request => request.TokenIds[2] = -1 },
        { "token_ids[0]", request => request.TokenIds[0] = 32 },
        { "token_ids", request => request.TokenIds.AddRange(Enumerable.Repeat(3, 195)) },
        { "token_ids", request => request.TokenIds.AddRange(Enumerable.Repeat(3, 196)) },
        { "begin", request => request.Begin = 6 },
        { "resume.prompt_tokens", request => request.Resume = new ResumeState { PromptTokens = 6 } },
        { "resume.prompt_tokens", request => request.Resume = new ResumeState() },
        { "sampling.max_tokens", request => request.Sampling = null },
        { "sampling.max_tokens", request => request.Sampling.MaxTokens = -1 },
        { "sampling.min_tokens", request => request.Sampling.MinTokens = 9 },
        { "sampling.temperature", request => request.Sampling.Temperature = float.NaN },
        { "sampling.temperature", request => request.Sampling.Temperature = float.PositiveInfinity },
        { "sampling.temperature", request => request.Sampling.Temperature = -0.1f },
        { "sampling.top_p", request => request.Sampling.TopP = 0 },
        { "sampling.top_p", request => request.Sampling.TopP = 1.1f },
        { "sampling.top_k", request => request.Sampling.TopK = -1 },
        { "sampling.min_p", request => request.Sampling.MinP = 1.5f },
        { "sampling.presence_penalty", request => request.Sampling.PresencePenalty = 2.5f },
        { "sampling.frequency_penalty", request => request.Sampling.FrequencyPenalty = float.NegativeInfinity },
        { "sampling.repetition_penalty", request => request.Sampling.RepetitionPenalty = 0 },
        { "sampling.logit_bias[3]", request => request.Sampling.LogitBias.Add(3, 101) },
        { "sampling.logit_bias", request => request.Sampling.LogitBias.Add(32, 1) },
        { "sampling.logprobs", request => request.Sampling.Logprobs = 21 },
        { "sampling.stop_token_ids", request => request.Sampling.StopTokenIds.Add(99) },
    };

    [Fact]
    public void What_can_never_fit_the_pool_is_refused_at_once_with_the_numbers()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", pages: 5, contextLength: 200);
        Assert.Equal(20, engine.Core.Status.Current.Model.ContextLength);
        var tokens = Calls.Prompt(21);
        foreach (var error in new[]
        {
            simulation.Fails(engine.GenerateAsync(Calls.Generate("r", tokens))),
            simulation.Fails(engine.GenerateAsync(Calls.Generate("r", tokens[..20]))),
            simulation.Fails(engine.PrepAsync(Calls.Prep("r", tokens))),
        })
        {
            Assert.Equal(RpcStatus.ResourceExhausted, error.Status);
            Assert.Contains("20 (--kv-memory)", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_queue_is_bounded()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a", limits: new EngineLimits { MaxWaiting = 2, MaxSequences = 1 });
        var calls = Enumerable.Range(0, 4).Select(index => engine.GenerateAsync(Calls.Generate($"r{index}", Calls.Prompt(5)))).ToList();
        simulation.Settle();
        var error = simulation.Fails(calls[3]);
        Assert.Equal(RpcStatus.ResourceExhausted, error.Status);
        Assert.Contains("--max-waiting", error.Message, StringComparison.Ordinal);
        Assert.All(calls[..2], call => Assert.Equal(8, simulation.Run(call).Tokens.Count));
    }

    [Fact]
    public void Shutdown_ends_everything_and_returns_every_page()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var (engine, other) = (simulation.Add("a"), simulation.Add("b"));
        var tokens = Calls.Prompt(20);
        _ = simulation.Run(engine.PrepAsync(Calls.Prep("held", tokens)));
        var kv = simulation.Run(other.PrepAsync(Calls.Prep("elsewhere", tokens)));
        Task[] calls = [engine.GenerateAsync(Calls.Generate("r", tokens, Calls.Sampling(100))), engine.SendAsync(Calls.Send("s", tokens, kv))];
        engine.Core.Step();
        simulation.Run(engine.Service.ShutdownAsync());
        Assert.All(calls, call => Assert.Equal(RpcStatus.Unavailable, simulation.Fails(call).Status));
        Assert.Equal((0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations));
    }

    [Fact]
    public void Shutdown_ends_the_watches_without_waiting_for_their_interval()
    {
        using var simulation = new Simulation { TimeShare = 0 };
        var engine = simulation.Add("a");
        var watches = new[] { 0u, 60_000u }.Select(interval => StatesAsync(engine, interval)).ToList();
        simulation.Settle();
        Assert.DoesNotContain(watches, watch => watch.IsCompleted);

        simulation.Run(engine.Service.ShutdownAsync());
        watches.Add(StatesAsync(engine, 60_000));
        Assert.All(watches, watch => Assert.Equal(EngineState.Draining, simulation.Run(watch)[^1]));
    }

    private static async Task<List<EngineState>> StatesAsync(SimulatedEngine engine, uint interval)
    {
        var states = new List<EngineState>();
        await foreach (var status in engine.Service.WatchStatusAsync(new WatchStatusRequest { MinIntervalMs = interval }, default))
        {
            states.Add(status.State);
        }

        return states;
    }

    private static async Task<EngineStatus> FirstAsync(SimulatedEngine engine)
    {
        await foreach (var status in engine.Service.WatchStatusAsync(new WatchStatusRequest(), default))
        {
            return status;
        }

        throw new InvalidOperationException("The watch ended");
    }
}
