using System.Text.Json;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Commands;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Explain;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>What a script saw, decided and said can be asked of each request afterwards.</summary>
public sealed class ExplainTests
{
    private const string Disaggregated = """
        async IAsyncEnumerable<Chunk> HandleRequest(Request request)
        {
            var (prefill, decode) = (Fleet.Role("prefill").LeastLoaded(), Fleet.Role("decode").LongestPrefix(request));
            Log.Info($"free pages: {decode.Load.FreePages}");
            var kv = await decode.PrepRecv(request, end: -1);
            await prefill.RemoteSend(request, kv);
            await foreach (var chunk in decode.StartGenerate(request, kv)) yield return chunk;
            Log.Warn($"cached by now: {decode.CachedTokens(request)}");
        }
        """;

    [Fact]
    public async Task Each_decision_is_told_with_what_the_script_saw_and_each_call_with_its_arguments()
    {
        await using var world = await ScriptedWorld.WithAsync(Disaggregated, labels: ["prefill", "decode"]);
        var trace = await world.TraceAsync();

        var shown = JsonSerializer.SerializeToNode(RequestView.Of([trace]), AdminReply.Json)!;
        Assert.Equal(
            ["least_loaded", "longest_prefix", "load", "log", "cached_tokens", "log"],
            shown["decisions"]!.AsArray().Select(decision => (string)decision!["kind"]!));
        var (least, longest) = (shown["decisions"]![0]!, shown["decisions"]![1]!);
        Assert.Equal(("role prefill", "engine-0"), ((string)least["of"]!, (string)least["chose"]!));
        Assert.Equal((0, 0, 1), ((int)least["candidates"]![0]!["prefill_tokens"]!, (int)least["candidates"]![0]!["sequences"]!, least["candidates"]!.AsArray().Count));
        Assert.Equal(("role decode", "engine-1", 0), ((string)longest["of"]!, (string)longest["chose"]!, (int)longest["candidates"]![0]!["cached_tokens"]!));
        Assert.Equal(64, (int)shown["decisions"]![2]!["load"]!["free_pages"]!);
        Assert.Equal(("info", "free pages: 64"), ((string)shown["decisions"]![3]!["level"]!, (string)shown["decisions"]![3]!["text"]!));
        Assert.Equal(["end: -1", "kv on engine-1", "kv on engine-1"], trace.Calls.Select(call => call.Arguments));
        Assert.True((double)shown["script"]!["thread_ms"]! > 0);
        Assert.True((long)shown["script"]!["allocated_bytes"]! > 0);

        using var printed = new StringWriter();
        TraceTimeline.Write(shown, printed);
        var lines = printed.ToString().Split('\n').Select(line => line.Trim().Split("ms  ", 2)[^1]).ToList();
        Assert.Equal("chose engine-0 of role prefill, least loaded: engine-0 prefill 0, sequences 0", lines[1]);
        Assert.Contains("log warning: cached by now: 0", lines);
        Assert.Contains(lines, line => line.StartsWith("engine-0 -> engine-1  RemoteSend(kv on engine-1) [0, 9)  took ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_choice_tells_the_loads_it_turned_on()
    {
        await using var world = await ScriptedWorld.WithAsync("IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);");
        using var busy = world.World.Fleet.Find("engine-0").Work.Begin(prefillTokens: 500);

        var choice = Assert.IsType<Choice>(Assert.Single((await world.TraceAsync()).Decisions.Kept));

        Assert.Equal("engine-1", choice.Chosen);
        Assert.Equal(
            [new Candidate("engine-0", 500, 1, -1), new Candidate("engine-1", 0, 0, -1)],
            choice.Candidates.ToArray().OrderBy(candidate => candidate.Engine, StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(3)]
    [InlineData(200)]
    public void Of_a_large_set_some_candidates_are_kept_and_always_the_chosen_one(int engines)
    {
        for (var chosen = 0; chosen < engines; chosen++)
        {
            var choice = new Choice(0, ChoiceKind.LeastLoaded, "all", engines);
            for (var i = 0; i < engines; i++)
            {
                choice.Saw(new Candidate($"engine-{i}", i, 1, -1));
            }

            choice.Made(new Candidate($"engine-{chosen}", chosen, 1, -1));

            Assert.Equal(Math.Min(engines, Choice.MostCandidates), choice.Candidates.Length);
            Assert.Single(choice.Candidates.ToArray(), candidate => candidate == new Candidate($"engine-{chosen}", chosen, 1, -1));
            Assert.Equal(choice.Candidates.Length, choice.Candidates.ToArray().Select(candidate => candidate.Engine).Distinct().Count());
        }
    }

    [Fact]
    public async Task Requests_that_run_at_the_same_time_keep_their_decisions_apart()
    {
        const string Script = """
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                for (var i = 0; i < 5; i++)
                {
                    Log.Info($"{request.Id} {i}");
                    await Task.WhenAll(Task.Yield().AsTask(), Beside());
                }

                await foreach (var chunk in Fleet.LeastLoaded().StartGenerate(request)) { Log.Info(request.Id); yield return chunk; }

                async Task Beside()
                {
                    await Task.Yield();
                    Log.Info($"{request.Id} beside");
                }
            }

            static async Task AsTask(this System.Runtime.CompilerServices.YieldAwaitable yielded) => await yielded;
            """;
        await using var world = await ScriptedWorld.WithAsync(Script);
        var specs = Enumerable.Range(0, 32).Select(_ => world.World.Spec()).ToList();

        await Task.WhenAll(specs.Select(spec => Task.Run(() => world.World.RunAsync(spec))));

        foreach (var spec in specs)
        {
            var kept = Assert.Single(world.World.Traces.Find(spec.Id)).Decisions.Kept;
            var lines = kept.OfType<LogLine>().Select(line => line.Text).ToList();
            Assert.Equal(14, lines.Count);
            Assert.All(lines, line => Assert.Equal(spec.Id, line.Split(' ')[0]));
        }
    }

    [Fact]
    public async Task What_is_kept_is_bounded_in_entries_in_the_length_of_lines_and_in_memory()
    {
        const string Chatty = """
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                for (var i = 0; i < 40; i++) Log.Info(new string('x', 5000));
                await Task.Yield();
                throw new Exception(new string('y', 5000));
                yield break;
            }
            """;
        var traces = new TraceSettings { Requests = 10_000, Bytes = 200_000, Entries = 30, LineChars = 100 };
        await using var world = await ScriptedWorld.WithAsync(Chatty, traces: traces);
        var first = world.World.Spec();
        for (var i = 0; i < 60; i++)
        {
            var trace = await world.TraceAsync(i == 0 ? first : null);
            var (kept, dropped) = trace.Decisions;
            Assert.Equal((30, 10), (kept.Count, dropped));
            Assert.All(kept, line => Assert.Equal(101, ((LogLine)line).Text.Length));
            Assert.Equal(101, trace.Error!.Length);
        }

        var ended = world.World.Traces.Recent(10_000);
        Assert.InRange(ended.Sum(trace => trace.SizeBytes), 100_000, 200_000);
        Assert.Empty(world.World.Traces.Find(first.Id));
    }

    [Fact]
    public async Task Nothing_is_written_down_where_nothing_is_to_be_kept()
    {
        await using var world = await ScriptedWorld.WithAsync(Disaggregated, traces: new TraceSettings { Entries = 0 }, labels: ["prefill", "decode"]);
        var trace = await world.TraceAsync();
        Assert.Equal(CallOutcome.Ok, trace.Outcome);
        Assert.Empty(trace.Decisions.Kept);
        Assert.Equal(3, trace.Calls.Count);
    }
}
