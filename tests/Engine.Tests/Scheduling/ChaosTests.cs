using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Scheduling;

public sealed class ChaosTests
{
    private static readonly RpcStatus[] Expected =
    [
        // Refused for want of pages, aborted or preempted for good, lease ended, refused address of a reservation that ended, runner failure.
        RpcStatus.ResourceExhausted, RpcStatus.Aborted, RpcStatus.Cancelled, RpcStatus.NotFound, RpcStatus.FailedPrecondition, RpcStatus.Internal,
    ];

    /// <summary>An engine that is gone, or hangs.</summary>
    private const RpcStatus Lost = RpcStatus.Unavailable;

    /// <summary>
    /// Two engines with pools far too small, and callers that generate, split, migrate, resume, read slowly, forget, cancel and abort. Whatever finished is what the
    /// request gives alone; the books balance at each step; and in the end nothing is held.
    /// </summary>
    [Fact]
    public void Whatever_happens_outputs_are_those_of_a_request_alone_and_nothing_leaks()
    {
        var (finished, preemptions, outcomes) = RunAll(seeds: 40, withDeaths: false);

        // A chaos in which nothing happens shows nothing.
        var told = string.Join(", ", outcomes.Select(outcome => $"{outcome.Key} {outcome.Value}"));
        Assert.True(finished > 40 * 40 / 3, $"{finished} finished: {told}");
        Assert.True(preemptions > 50, $"{preemptions} preemptions: {told}");
        Assert.All(Expected, status => Assert.True(outcomes.ContainsKey(status), $"Never {status}: {told}"));
        Assert.False(outcomes.ContainsKey(Lost), told);
    }

    /// <summary>
    /// The same, and meanwhile engines are killed and started anew, and senders or receivers hang for good, some of them within a write. Every call is answered while
    /// they hang; what outlives them serves what it did before, from a cache that nobody spoiled, and holds nothing once those that hang are gone.
    /// </summary>
    [Fact]
    public void Engines_that_die_or_hang_at_any_moment_harm_no_other_and_leave_nothing_behind()
    {
        var (finished, _, outcomes) = RunAll(seeds: 60, withDeaths: true);
        var told = string.Join(", ", outcomes.Select(outcome => $"{outcome.Key} {outcome.Value}"));
        Assert.True(finished > 60 * 40 / 6, $"{finished} finished: {told}");
        Assert.True(outcomes.GetValueOrDefault(Lost) > 60, $"Hardly anything was lost: {told}");
    }

    /// <summary>
    /// The same where the next step is launched before the last one's tokens are known, over a device that computes as late as it may: outputs are those of an engine that waits for each step, bit for bit, and
    /// what is computed too much is seen by nobody.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Steps_launched_ahead_change_nothing_that_a_caller_sees(bool withDeaths)
    {
        const int Seeds = 40;
        var (finished, preemptions, outcomes) = RunAll(Seeds, withDeaths, overlaps: true);
        var told = string.Join(", ", outcomes.Select(outcome => $"{outcome.Key} {outcome.Value}"));
        Assert.True(finished > Seeds * 40 / 6, $"{finished} finished: {told}");
        Assert.True(preemptions > 50 || withDeaths, $"{preemptions} preemptions: {told}");
    }

    private static (int Finished, ulong Preemptions, Dictionary<RpcStatus, int> Outcomes) RunAll(int seeds, bool withDeaths, bool overlaps = false)
    {
        var (finished, preemptions, outcomes) = (0, 0ul, new Dictionary<RpcStatus, int>());
        for (var seed = 1; seed <= seeds; seed++)
        {
            try
            {
                var run = Run(seed, withDeaths, overlaps, outcomes);
                finished += run.Finished;
                preemptions += run.Preemptions;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"Seed {seed}: {e.Message}", e);
            }
        }

        return (finished, preemptions, outcomes);
    }

    private static (int Finished, ulong Preemptions) Run(int seed, bool withDeaths, bool overlaps, Dictionary<RpcStatus, int> outcomes)
    {
        var random = new Random(seed);
        using var simulation = new Simulation(seed) { Overlaps = overlaps };
        var limits = new EngineLimits
        {
            MaxBatchTokens = random.Next(6, 24),
            MaxSequences = random.Next(2, 6),
            MaxWaiting = 20,
            MaxWait = TimeSpan.FromSeconds(10),
            DefaultLease = TimeSpan.FromSeconds(20),
            SendTimeout = TimeSpan.FromSeconds(5),
            OutputChunks = random.Next(1, 4) + (overlaps ? 1 : 0),
        };

        // Every third time a model that computes longer sequences unlike shorter ones.
        var shortContext = seed % 3 == 0 ? random.Next(8, 40) : int.MaxValue;
        var engines = new SimulatedEngine[2];
        for (var index = 0; index < engines.Length; index++)
        {
            engines[index] = new SimulatedEngine("ab"[index..(index + 1)], simulation, limits, random.Next(14, 24), contextLength: 50, shortContext: shortContext) { IsMortal = withDeaths };
            simulation.Engines.Add(engines[index]);
        }

        if (seed % 4 == 0)
        {
            var failures = new Random(seed);
            engines[0].Runner.OnForward = slices =>
            {
                if (failures.Next(40) == 0)
                {
                    throw new InvalidOperationException("a failing device");
                }
            };
        }

        var hanging = new HashSet<FakeKvNetwork.FakeSession>();
        simulation.Network.Hangs = hanging.Contains;
        var callers = new List<Task<(StartGenerateRequest Request, Generated Output)?>>();
        for (var index = 0; index < 40; index++)
        {
            var (id, callerSeed) = ($"r{index}", random.Next());
            callers.Add(Call(engines, id, new Random(callerSeed), outcomes));
            for (var moves = random.Next(40); moves > 0; moves--)
            {
                simulation.Move();
            }

            if (withDeaths && random.Next(4) == 0)
            {
                Disturb(simulation, engines, hanging, random);
            }
        }

        simulation.Run(Task.WhenAll(callers));

        // Those that hang are killed at last. Nothing of them comes back but the pages they kept busy.
        foreach (var session in hanging)
        {
            session.Close();
        }

        simulation.Advance(TimeSpan.FromSeconds(30));
        simulation.Advance(TimeSpan.FromSeconds(30));

        foreach (var engine in engines)
        {
            Assert.Equal((0, 0, 0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations, engine.Load.Running, engine.Load.Waiting));
            Assert.Equal(engine.Pool.Pages, engine.Load.KvPagesFree);
            Assert.Equal(0, engine.Load.PrefillTokensQueued);
            Assert.True(engine.Core.IsIdle);
            engine.Runner.OnForward = null;
        }

        var outputs = callers.Where(caller => caller.Result is not null).Select(caller => caller.Result!.Value).ToList();
        foreach (var (request, output) in outputs)
        {
            AssertSame(Alone(request, shortContext), output);
        }

        // What is cached is what was computed: served from it, each gives the same again.
        foreach (var (request, output) in outputs.Take(4))
        {
            foreach (var engine in engines)
            {
                AssertSame(output, simulation.Run(engine.GenerateAsync(request)));
            }
        }

        Assert.True(!overlaps || withDeaths || engines.Sum(engine => engine.Overlapping!.Ahead) > 0, "Nothing was launched ahead");
        return (outputs.Count, engines[0].Load.Preemptions + engines[1].Load.Preemptions);
    }

    private static void Disturb(Simulation simulation, SimulatedEngine[] engines, HashSet<FakeKvNetwork.FakeSession> hanging, Random random)
    {
        if (random.Next(3) > 0)
        {
            if (simulation.Network.Pending is { Count: > 0 } pending)
            {
                hanging.Add(pending[random.Next(pending.Count)]);
            }

            return;
        }

        var index = random.Next(engines.Length);
        engines[index] = simulation.Replace(engines[index], "ab"[index..(index + 1)], (ulong)random.Next(8, int.MaxValue), random.Next(14, 24), contextLength: 50);
    }

    private static void AssertSame(Generated expected, Generated actual)
    {
        Assert.Equal(expected.Tokens, actual.Tokens);
        Assert.Equal(expected.Reason, actual.Reason);
        Assert.Equal(expected.Logprobs, actual.Logprobs);
    }

    private static async Task<(StartGenerateRequest Request, Generated Output)?> Call(
        SimulatedEngine[] engines, string id, Random random, Dictionary<RpcStatus, int> outcomes)
    {
        var (here, there) = random.Next(2) == 0 ? (engines[0], engines[1]) : (engines[1], engines[0]);

        // Few families of prompts, so that prefixes are shared.
        int[] prompt = [.. Calls.Prompt(random.Next(1, 30), seed: random.Next(3)), .. Calls.Prompt(random.Next(0, 6), seed: random.Next(100))];
        var sampling = Calls.Sampling(random.Next(1, 25), random.Next(2), (ulong)random.Next(5));
        sampling.Logprobs = random.Next(4);
        sampling.IgnoreEos = random.Next(2) == 0;
        sampling.RepetitionPenalty = random.Next(2) == 0 ? 1 : 1.3f;
        sampling.FrequencyPenalty = random.Next(2) == 0 ? 0 : 0.4f;
        using var cancel = new CancellationTokenSource();
        var patience = random.Next(6) == 0 ? random.Next(8) : int.MaxValue;
        try
        {
            var plain = Calls.Generate(id, prompt, sampling);
            switch (random.Next(7))
            {
                case 0:
                    // The caller goes away after some tokens, or before the first.
                    var leaving = here.GenerateAsync(plain, stopAfter: random.Next(1, 6), cancel.Token);
                    await Pause(random);
                    if (random.Next(2) == 0)
                    {
                        await cancel.CancelAsync();
                    }

                    await leaving;
                    return null;
                case 1:
                    // Some tokens here, the rest there.
                    var first = await here.GenerateAsync(plain, stopAfter: random.Next(1, 12));
                    if (first.Reason != FinishReason.Unspecified)
                    {
                        return (plain, first);
                    }

                    var rest = await there.GenerateAsync(Calls.Generate(id, [.. prompt, .. first.Tokens], sampling, resumeAfter: prompt.Length));
                    return (plain, rest with { Tokens = [.. first.Tokens, .. rest.Tokens], Logprobs = [.. first.Logprobs, .. rest.Logprobs] });
                case 2 or 3 or 4:
                    return await Split(here, there, plain, prompt, cancel, patience, random);
                case 5:
                    // Abort by another caller, at any time.
                    var aborted = here.GenerateAsync(plain);
                    await Pause(random);
                    await here.AbortAsync(id);
                    var what = await aborted;
                    return what.Reason == FinishReason.Abort ? null : (plain, what);
                default:
                    return (plain, await here.Reach(Slowly(here, plain, random)));
            }
        }
        catch (RpcException e) when (e.Status == Lost || Expected.Contains(e.Status))
        {
            outcomes[e.Status] = outcomes.GetValueOrDefault(e.Status) + 1;
            return null;
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            return null;
        }
    }

    private static async Task<(StartGenerateRequest Request, Generated Output)?> Split(
        SimulatedEngine decode, SimulatedEngine prefill, StartGenerateRequest plain, int[] prompt, CancellationTokenSource cancel, int patience, Random random)
    {
        var id = plain.RequestId;
        var end = random.Next(3) switch { 0 => prompt.Length, 1 => -1, _ => random.Next(prompt.Length + 1) };
        if (patience == 0)
        {
            cancel.Cancel();
        }

        var kv = await decode.PrepAsync(Calls.Prep(id, prompt, end, leaseMs: random.Next(4) == 0 ? 1000u : 0), cancel.Token);
        if (patience == 1)
        {
            // Forgotten: the lease returns it.
            return null;
        }

        var begin = random.Next(3) == 0 ? 0 : kv.MatchedTokens;
        var send = prefill.SendAsync(Calls.Send(id, prompt, kv, begin), cancel.Token);
        if (patience is 2 or 3)
        {
            await Pause(random);
            if (patience == 2)
            {
                await cancel.CancelAsync();
            }
            else
            {
                await decode.AbortAsync(id);
            }
        }

        var sent = await send;
        Assert.Equal(Math.Max(0, kv.End - Math.Max(begin, kv.MatchedTokens)), sent.SentTokens);
        if (patience is 4 or 5)
        {
            await decode.ReleaseAsync(kv);
            return (plain, await decode.GenerateAsync(plain));
        }

        return (plain, await decode.GenerateAsync(Calls.Generate(id, prompt, plain.Sampling, kv.ReservationId, begin: kv.End)));
    }

    private static async Task<Generated> Slowly(SimulatedEngine engine, StartGenerateRequest request, Random random)
    {
        var output = new Generated([], [], FinishReason.Unspecified, null, null);
        await foreach (var chunk in engine.Service.StartGenerateAsync(request, CancellationToken.None))
        {
            output.Tokens.AddRange(chunk.TokenIds);
            output.Logprobs.AddRange(chunk.Logprobs.Select(logprob => logprob.Clone()));
            output = output with { Reason = chunk.FinishReason };
            await Pause(random);
        }

        return output;
    }

    /// <summary>Lets others do things for a while.</summary>
    private static async Task Pause(Random random)
    {
        for (var turns = random.Next(30); turns > 0; turns--)
        {
            await Task.Yield();
        }
    }

    private static Generated Alone(StartGenerateRequest request, int shortContext)
    {
        using var simulation = new Simulation();
        var engine = new SimulatedEngine("alone", simulation, new EngineLimits { MaxBatchTokens = 512 }, pages: 200, contextLength: 50, shortContext: shortContext);
        simulation.Engines.Add(engine);
        return simulation.Run(engine.GenerateAsync(request));
    }
}
