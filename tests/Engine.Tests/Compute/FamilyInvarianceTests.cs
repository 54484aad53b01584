using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>
/// The promise that routers build on, for every family, weight type and KV type: a request gives the same tokens and the same bits of log-probabilities whatever batch,
/// chunking, page size, thread count, vector width, cached prefix, preemption, split or move to another engine it met.
/// </summary>
public sealed class FamilyInvarianceTests
{
    private static readonly (string Stored, WeightFormat Weights)[] Types =
    [
        ("F32", WeightFormat.Auto), ("F16", WeightFormat.Auto), ("BF16", WeightFormat.Auto), ("BF16", WeightFormat.Int8),
    ];

    private static readonly EngineLimits Patient = new()
    {
        MaxWait = TimeSpan.FromHours(1),
        MaxPause = TimeSpan.FromHours(1),
        DefaultLease = TimeSpan.FromHours(1),
        MaxLease = TimeSpan.FromHours(1),
        SendTimeout = TimeSpan.FromHours(1),
    };

    [Theory]
    [MemberData(nameof(RandomConfigs.Architectures), MemberType = typeof(RandomConfigs))]
    public void A_request_gives_the_same_bits_however_it_is_served(string architecture)
    {
        var seen = new Seen();
        for (int seed = 0; seed < 3 * Types.Length; seed++)
        {
            // Each weight type with each KV type.
            var kvType = Enum.GetValues<KvDataType>()[seed / Types.Length % 3];
            var (stored, weights) = Types[seed % Types.Length];
            using var folder = RandomConfigs.Folder(architecture, stored, new Random(seed));
            try
            {
                Serve(folder.Path, weights, kvType, seed, seen, 1, 1);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"Seed {seed}, {stored} as {weights}, KV {kvType}: {e.Message}{Environment.NewLine}{File.ReadAllText(folder.File("config.json"))}", e);
            }
        }

        // An arrangement that never came about shows nothing.
        Assert.True(seen is { Preemptions: > 5, CachedTokens: > 100, SentTokens: > 100, Resumed: > 3 }, $"{seen}");
    }

    [Theory]
    [MemberData(nameof(RandomConfigs.Architectures), MemberType = typeof(RandomConfigs))]
    public void Engines_of_any_number_of_ranks_give_the_bits_of_one_and_take_each_others_kv(string architecture)
    {
        var seen = new Seen();
        (int Here, int There)[] degrees = [(1, 2), (2, 4), (4, 1), (2, 2)];
        for (int seed = 0; seed < degrees.Length; seed++)
        {
            var (stored, weights) = Types[seed];
            var kvType = Enum.GetValues<KvDataType>()[seed % 3];
            using var folder = RandomConfigs.Folder(architecture, stored, new Random(seed), ranks: 4);
            Serve(folder.Path, weights, kvType, seed, seen, degrees[seed].Here, degrees[seed].There);
        }

        Assert.True(seen is { Preemptions: > 0, CachedTokens: > 20, SentTokens: > 20, Resumed: > 0 }, $"{seen}");
    }

    /// <param name="here">Ranks of the engine that receives.</param>
    /// <param name="there">Ranks of the other.</param>
    private static void Serve(string folder, WeightFormat weights, KvDataType kvType, int seed, Seen seen, int here, int there)
    {
        var random = new Random(seed);
        using var plain = Load(folder, new CpuRunnerOptions { Weights = weights, Threads = 1, PageTokens = 16, MaxBatchTokens = 128, KvDataType = kvType });
        int pageTokens = new[] { 1, 3, 4, 16 }[random.Next(4)];
        using var one = Load(folder, new CpuRunnerOptions { Weights = weights, TensorParallel = here, Threads = 2 * here, PageTokens = pageTokens, MaxBatchTokens = 32, KvDataType = kvType });
        using var other = Load(folder, new CpuRunnerOptions { Weights = weights, TensorParallel = there, Threads = there, PageTokens = pageTokens, MaxBatchTokens = 32, VectorWidth = VectorWidth.Vector128, KvDataType = kvType });

        using var simulation = new Simulation(seed);
        CpuModelRunner[] runners = [one, other];
        foreach (var runner in runners)
        {
            // Room for little more than one request of full length, so that sequences are preempted.
            var limits = Patient with { MaxBatchTokens = random.Next(5, 33), MaxSequences = random.Next(2, 6) };
            simulation.Engines.Add(new SimulatedEngine($"e{simulation.Engines.Count}", simulation, limits, 80 / pageTokens + 2, runner));
        }

        var callers = Enumerable.Range(0, 14).Select(i => Call(simulation.Engines, $"r{i}", new Random(random.Next()), one.Model.VocabSize, seen)).ToList();
        simulation.Run(Task.WhenAll(callers));
        foreach (var (request, output) in callers.Select(caller => caller.Result))
        {
            var expected = Alone(plain, request);
            Assert.Equal(expected.Tokens, output.Tokens);
            Assert.Equal(expected.Logprobs, output.Logprobs);
        }

        seen.Preemptions += simulation.Engines.Sum(engine => (int)engine.Load.Preemptions);
    }

    private static async Task<(StartGenerateRequest Request, Generated Output)> Call(
        List<SimulatedEngine> engines, string id, Random random, int vocab, Seen seen)
    {
        var (here, there) = random.Next(2) == 0 ? (engines[0], engines[1]) : (engines[1], engines[0]);

        // Few families of prompts, so that prefixes are shared.
        int[] Tokens(int count, int seed)
        {
            var tokens = new Random(seed);
            return [.. Enumerable.Range(0, count).Select(_ => tokens.Next(vocab))];
        }

        int[] prompt = [.. Tokens(random.Next(1, 36), random.Next(3)), .. Tokens(random.Next(0, 8), random.Next())];
        var sampling = Calls.Sampling(random.Next(1, 16), random.Next(2), (ulong)random.Next(5));
        sampling.Logprobs = Math.Min(vocab, 3);
        var plain = Calls.Generate(id, prompt, sampling);
        switch (random.Next(3))
        {
            case 0:
                var output = await here.GenerateAsync(plain);
                seen.CachedTokens += (int)output.Usage!.CachedTokens;
                return (plain, output);
            case 1:
                var first = await here.GenerateAsync(plain, stopAfter: random.Next(1, 8));
                if (first.Reason != FinishReason.Unspecified)
                {
                    return (plain, first);
                }

                seen.Resumed++;
                var rest = await there.GenerateAsync(Calls.Generate(id, [.. prompt, .. first.Tokens], sampling, resumeAfter: prompt.Length));
                return (plain, rest with { Tokens = [.. first.Tokens, .. rest.Tokens], Logprobs = [.. first.Logprobs, .. rest.Logprobs] });
            default:
                // One way only: reservations that hold the pages of both engines while their senders wait for pages there wait for each other, until their leases
                // end, and these are long.
                (here, there) = (engines[0], engines[1]);
                int end = random.Next(3) switch { 0 => prompt.Length, 1 => -1, _ => random.Next(prompt.Length + 1) };
                var kv = await here.PrepAsync(Calls.Prep(id, prompt, end));
                seen.SentTokens += (int)(await there.SendAsync(Calls.Send(id, prompt, kv))).SentTokens;
                return (plain, await here.GenerateAsync(Calls.Generate(id, prompt, sampling, kv.ReservationId, begin: kv.End)));
        }
    }

    private static Generated Alone(IModelRunner runner, StartGenerateRequest request)
    {
        using var simulation = new Simulation();
        var engine = new SimulatedEngine("alone", simulation, Patient with { MaxBatchTokens = 128 }, 10, runner);
        simulation.Engines.Add(engine);
        return simulation.Run(engine.GenerateAsync(request));
    }

    private static CpuModelRunner Load(string folder, CpuRunnerOptions options) => CpuModelRunner.Load(folder, options);

    private sealed record Seen
    {
        public int Preemptions { get; set; }

        public int CachedTokens { get; set; }

        public int SentTokens { get; set; }

        public int Resumed { get; set; }
    }
}
