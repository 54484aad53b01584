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

    /// <summary>
    /// Two engines with pools far too small, and callers that generate, split, migrate, resume, read slowly, forget, cancel and abort. Whatever finished is what the
    /// request gives alone; the books balance at each step; and in the end nothing is held.
    /// </summary>
    [Fact]
    public void Whatever_happens_outputs_are_those_of_a_request_alone_and_nothing_leaks()
    {
        var (finished, preemptions, outcomes) = (0, 0ul, new Dictionary<string, int>());
        for (var seed = 1; seed <= 40; seed++)
        {
            try
            {
                var run = Run(seed, outcomes);
                finished += run.Finished;
                preemptions += run.Preemptions;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"Seed {seed}: {e.Message}", e);
            }
        }

        // A chaos in which nothing happens shows nothing.
        var told = string.Join(", ", outcomes.Select(outcome => $"{outcome.Key} {outcome.Value}"));
        Assert.True(finished > 40 * 40 / 3, $"{finished} finished: {told}");
        Assert.True(preemptions > 50, $"{preemptions} preemptions: {told}");
        Assert.All(Expected, status => Assert.True(outcomes.ContainsKey(status.ToString()), $"Never {status}: {told}"));
    }

    private static (int Finished, ulong Preemptions) Run(int seed, Dictionary<string, int> outcomes)
    {
        var random = new Random(seed);
        using var simulation = new Simulation(seed);
        var limits = new EngineLimits
        {
            MaxBatchTokens = random.Next(6, 24),
            MaxSequences = random.Next(2, 6),
            MaxWaiting = 20,
            MaxWait = TimeSpan.FromSeconds(10),
            DefaultLease = TimeSpan.FromSeconds(20),
            OutputChunks = random.Next(1, 4),
        };
        SimulatedEngine[] engines = [simulation.Add("a", random.Next(14, 24), limits, contextLength: 50), simulation.Add("b", random.Next(14, 24), limits, contextLength: 50)];
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

        var callers = new List<Task<(StartGenerateRequest Request, Generated Output)?>>();
        for (var index = 0; index < 40; index++)
        {
            var (id, callerSeed) = ($"r{index}", random.Next());
            callers.Add(Call(engines, id, new Random(callerSeed), outcomes));
            for (var moves = random.Next(40); moves > 0; moves--)
            {
                simulation.Move();
            }
        }

        simulation.Run(Task.WhenAll(callers));
        simulation.Advance(TimeSpan.FromSeconds(30));
        simulation.Advance(TimeSpan.FromSeconds(30));

        foreach (var engine in engines)
        {
            Assert.Equal((0, 0, 0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations, engine.Load.Running, engine.Load.Waiting));
            Assert.Equal(engine.Pool.Pages, engine.Load.KvPagesFree);
            Assert.Equal(0, engine.Load.PrefillTokensQueued);
            Assert.True(engine.Core.IsIdle);
        }

        var outputs = callers.Where(caller => caller.Result is not null).Select(caller => caller.Result!.Value).ToList();
        foreach (var (request, output) in outputs)
        {
            var alone = Alone(request);
            Assert.Equal(alone.Tokens, output.Tokens);
            Assert.Equal(alone.Reason, output.Reason);
            Assert.Equal(alone.Logprobs, output.Logprobs);
        }

        return (outputs.Count, engines[0].Load.Preemptions + engines[1].Load.Preemptions);
    }

    private static async Task<(StartGenerateRequest Request, Generated Output)?> Call(
        SimulatedEngine[] engines, string id, Random random, Dictionary<string, int> outcomes)
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
                    await here.Service.AbortAsync(new AbortRequest { RequestId = id }, CancellationToken.None);
                    var what = await aborted;
                    return what.Reason == FinishReason.Abort ? null : (plain, what);
                default:
                    return (plain, await Slowly(here, plain, random));
            }
        }
        catch (RpcException e) when (Expected.Contains(e.Status))
        {
            outcomes[e.Status.ToString()] = outcomes.GetValueOrDefault(e.Status.ToString()) + 1;
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
                await decode.Service.AbortAsync(new AbortRequest { RequestId = id }, CancellationToken.None);
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
            output.Logprobs.AddRange(chunk.Logprobs);
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

    private static Generated Alone(StartGenerateRequest request)
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("alone", pages: 200, new EngineLimits { MaxBatchTokens = 512 }, contextLength: 50);
        return simulation.Run(engine.GenerateAsync(request));
    }
}
