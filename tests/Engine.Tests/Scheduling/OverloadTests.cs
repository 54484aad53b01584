using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Scheduling;

/// <summary>
/// Mixed load for which there is KV memory for a fifth: nobody waits longer than those before him may take, every stream that ends is that of the request
/// alone, and nothing is left. Time is counted in steps: one passes a tick of the fake clock, and the engines themselves refuse what waits longer than the bound.
/// </summary>
public sealed class OverloadTests
{
    private const int PageTokens = 4;
    private const int Callers = 40;
    private const int RequestsOfCaller = 25;
    private const int LongestPrompt = 40;
    private const int LongestOutput = 24;
    private const int BatchTokens = 48;
    private const int PagesOfLongest = (LongestPrompt + LongestOutput + PageTokens - 1) / PageTokens;

    /// <summary>A fifth of what all callers' longest requests would hold at a time.</summary>
    private const int Pages = Callers * PagesOfLongest / 5;

    /// <summary>Steps that a request takes at most once it runs: its prompt in chunks beside others' tokens, its output, and once more where it was preempted.</summary>
    private const int LongestRun = 2 * ((LongestPrompt / (BatchTokens - (Pages / PagesOfLongest)) + 1) + LongestOutput);

    /// <summary>
    /// Steps that anyone waits at most. All others are before him; of them as many run at a time as the pool holds whole. A reservation holds its pages until its
    /// sender, who waits likewise, has sent: so a run may have a wait in it.
    /// </summary>
    private const int LongestWait = 2 * LongestRun * ((Callers * PagesOfLongest / Pages) + 1);

    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(10);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Under_five_times_the_demand_every_wait_is_bounded_every_stream_is_right_and_nothing_is_left(int seed)
    {
        using var simulation = new Simulation(seed);
        var limits = new EngineLimits
        {
            MaxBatchTokens = BatchTokens,
            MaxSequences = 32,
            MaxWaiting = 2 * Callers,
            MaxWait = LongestWait * Tick,
            DefaultLease = 4 * LongestWait * Tick,
            OutputChunks = LongestOutput + 1,
        };

        // KV goes one way: two engines full of each other's reservations wait for each other until a lease ends, which is another matter.
        var (prefill, decode) = (simulation.Add("prefill", Pages, limits), simulation.Add("decode", Pages, limits));
        var books = new Books();
        var callers = Enumerable.Range(0, Callers).Select(caller => CallAsync(prefill, decode, caller, new Random((seed * 1000) + caller), books)).ToList();
        var all = Task.WhenAll(callers);
        for (var turn = 0; !all.IsCompleted; turn++)
        {
            Assert.True(turn < 100_000, "The load does not come to an end");
            simulation.Engines.ForEach(engine => Simulation.StepChecked(engine));
            simulation.Network.PumpAll();
            _ = simulation.RunContinuations();

            // A turn is a step for everybody: nobody is late because other tests keep the pool busy.
            Simulation.LetPoolCatchUp();
            _ = simulation.RunContinuations();
            simulation.Time.Advance(Tick);
            books.MostHeld = Math.Max(books.MostHeld, decode.Load.KvPagesHeld);
        }

        simulation.Run(all);
        simulation.Settle();
        simulation.Advance(2 * limits.DefaultLease);
        foreach (var engine in simulation.Engines)
        {
            Assert.Equal((0, 0, 0, 0), (engine.Load.KvPagesHeld, engine.Load.Reservations, engine.Load.Running, engine.Load.Waiting));
            Assert.Equal(Pages, engine.Load.KvPagesFree);
            Assert.True(engine.Core.IsIdle);
        }

        // Pressure that never came about shows nothing.
        Assert.True(books is { Whole: > 500, Left: > 75, Aborted: > 50, Split: > 125 } && books.MostHeld > Pages * 9 / 10, $"{books}");
        Assert.True(decode.Load.Preemptions > 10, $"{decode.Load.Preemptions} preemptions");
        Assert.InRange(books.LongestQueued / Tick, 8, LongestWait);
        var expected = Alone(books.Finished.Select(finished => finished.Request));
        Assert.All(books.Finished, finished => Assert.Equal(expected[Key(finished.Request)], finished.Tokens));
    }

    private static async Task CallAsync(SimulatedEngine prefill, SimulatedEngine decode, int caller, Random random, Books books)
    {
        for (var index = 0; index < RequestsOfCaller; index++)
        {
            for (var idle = random.Next(20); idle > 0; idle--)
            {
                await Task.Yield();
            }

            // Few families of prompts, so that prefixes are shared.
            int[] prompt = Calls.Prompt(random.Next(4, LongestPrompt + 1), seed: random.Next(30));
            var request = Calls.Generate($"c{caller}-{index}", prompt, Calls.Sampling(random.Next(1, LongestOutput + 1), random.Next(2), (ulong)random.Next(3)));
            switch (random.Next(8))
            {
                case 0:
                    _ = await decode.GenerateAsync(request, stopAfter: random.Next(1, 8));
                    books.Left++;
                    break;
                case 1:
                    await AbortAsync(decode, request, random, books);
                    break;
                case 2 or 3:
                    var kv = await decode.PrepAsync(Calls.Prep(request.RequestId, prompt, end: -1));
                    _ = await prefill.SendAsync(Calls.Send(request.RequestId, prompt, kv));
                    if (random.Next(6) == 0)
                    {
                        await decode.ReleaseAsync(kv);
                        break;
                    }

                    books.Split++;
                    books.Add(request, await decode.GenerateAsync(Calls.Generate(request.RequestId, prompt, request.Sampling, kv.ReservationId, begin: kv.End)));
                    break;
                default:
                    books.Add(request, await (random.Next(3) == 0 ? prefill : decode).GenerateAsync(request));
                    break;
            }
        }
    }

    private static async Task AbortAsync(SimulatedEngine engine, StartGenerateRequest request, Random random, Books books)
    {
        var generation = engine.GenerateAsync(request);
        for (var turns = random.Next(200); turns > 0; turns--)
        {
            await Task.Yield();
        }

        await engine.AbortAsync(request.RequestId);
        var output = await generation;
        if (output.Reason == FinishReason.Abort)
        {
            books.Aborted++;
        }
        else
        {
            books.Add(request, output);
        }
    }

    /// <summary>The tokens of each request, computed by itself on an engine that has nothing else.</summary>
    private static Dictionary<string, List<int>> Alone(IEnumerable<StartGenerateRequest> requests)
    {
        using var simulation = new Simulation();
        var engine = simulation.Add("alone", pages: 200, new EngineLimits { MaxBatchTokens = 512 });
        return requests.DistinctBy(Key).ToDictionary(Key, request => simulation.Run(engine.GenerateAsync(Calls.Generate(request.RequestId, [.. request.TokenIds], request.Sampling))).Tokens);
    }

    private static string Key(StartGenerateRequest request) => $"{request.TokenIds} {request.Sampling}";

    /// <summary>What became of the requests.</summary>
    private sealed record Books
    {
        public List<(StartGenerateRequest Request, List<int> Tokens)> Finished { get; } = [];

        public int Whole => Finished.Count;

        public int Left { get; set; }

        public int Aborted { get; set; }

        public int Split { get; set; }

        public int MostHeld { get; set; }

        public TimeSpan LongestQueued { get; private set; }

        public void Add(StartGenerateRequest request, Generated output)
        {
            Assert.Equal(FinishReason.Length, output.Reason);
            Finished.Add((request, output.Tokens));
            var queued = TimeSpan.FromMicroseconds(output.Timings!.QueueUs);
            LongestQueued = queued > LongestQueued ? queued : LongestQueued;
        }
    }
}
