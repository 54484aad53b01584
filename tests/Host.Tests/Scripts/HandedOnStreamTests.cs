namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>A loop that yields a stream's chunks as they are is read by the host; the script cannot tell.</summary>
public sealed class HandedOnStreamTests
{
    private const string Whole = "await foreach (var chunk in $) yield return chunk;";
    private const string ByTheScript = "await foreach (var chunk in $) { var same = chunk; yield return same; }";

    private const string Own = """

        async IAsyncEnumerable<Chunk> Own(string name, int count, int failsAt = -1)
        {
            Log.Info($"{name} begins");
            try
            {
                for (var i = 0; i < count; i++)
                {
                    if (i % 2 == 1) await Task.Yield();
                    if (i == failsAt) throw new InvalidOperationException($"{name} fails");
                    yield return new Chunk { Tokens = new[] { i }, FinishReason = null };
                }
            }
            finally
            {
                await Task.Yield();
                Log.Info($"{name} ends");
            }
        }

        class Counter(int count, Action<string> log) : IAsyncEnumerable<Chunk>, IAsyncEnumerator<Chunk>
        {
            int at;

            public Chunk Current => new Chunk { Tokens = new[] { at } };

            public IAsyncEnumerator<Chunk> GetAsyncEnumerator(CancellationToken cancelled) { log($"opened, {cancelled.CanBeCanceled}"); return this; }

            public async ValueTask<bool> MoveNextAsync() { await Task.Yield(); return ++at < count; }

            public ValueTask DisposeAsync() { log("disposed"); return default; }
        }

        IAsyncEnumerable<Chunk> Counting(int count) => new Counter(count, line => Log.Info(line));
        """;

    public static TheoryData<string, int> Scripts => new()
    {
        { "[own 'a', 3] Log.Info('between'); [own 'b', 0] [own 'c', 2] Log.Info('after');", 100 },
        { "for (var i = 0; i < 3; i++) { [own $'turn {i}', i] } [generate]", 100 },
        { "try { try { [own 'a', 4, 2] } finally { Log.Info('inner'); } } finally { await Task.Yield(); Log.Info('outer'); }", 100 },
        { "try { [own 'a', 1, 0] } finally { Log.Info('around'); }", 100 },
        { "try { [own 'a', 10] } finally { Log.Info('around'); }", 3 },
        { "using var _ = new CancellationTokenSource(); [generate] Log.Info('after');", 1 },
        { "[generate] throw new InvalidOperationException('after it');", 100 },
        { "await Task.Yield(); [own 'a', 2] if (request.Length > 0) yield break; [own 'never', 2]", 100 },
        { "var begun = Own('begun', 3).Begin(); await begun.Started; [begun]", 100 },
        { "IAsyncEnumerable<Chunk> none = null; [none]", 100 },
        { "[Counting(3)] Log.Info('between'); [Counting(2)] Log.Info('after');", 100 },
        { "try { [Counting(3)] } finally { Log.Info('around'); }", 1 },
    };

    [Theory]
    [MemberData(nameof(Scripts))]
    public async Task What_comes_out_and_what_runs_is_the_same_as_if_the_script_had_read_it(string body, int readUntil) =>
        Assert.Equal(await RunAsync(body, ByTheScript, readUntil), await RunAsync(body, Whole, readUntil));

    [Theory]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { await foreach (var c in Fleet.LeastLoaded().StartGenerate(r)) yield return c; }", true)]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { await foreach (Chunk c\n in Fleet.LeastLoaded()\n .StartGenerate(r)) { yield return c; } }", true)]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { await foreach (var c in Fleet.LeastLoaded().StartGenerate(r)) { Log.Info(c.ToString()); yield return c; } }", false)]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { Chunk d = null; await foreach (var c in Fleet.LeastLoaded().StartGenerate(r)) yield return d; }", false)]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { await foreach (var c in Fleet.LeastLoaded().StartGenerate(r).WithCancellation(r.Cancelled)) yield return c; }", false)]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { foreach (var c in new Chunk[0]) yield return c; }", false)]
    [InlineData("IAsyncEnumerable<Chunk> HandleRequest(Request r) => Inner(r); async IAsyncEnumerable<Chunk> Inner(Request r) { await foreach (var c in Fleet.LeastLoaded().StartGenerate(r)) yield return c; }", false)]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { await foreach (var c in r.Length > 1 ? Fleet.LeastLoaded().StartGenerate(r) : HandleRequest(r)) yield return c; }", false)]
    [InlineData("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { async IAsyncEnumerable<Chunk> Local() { await foreach (var c in Fleet.LeastLoaded().StartGenerate(r)) yield return c; } await foreach (var c in Local()) { Log.Info(c.ToString()); yield return c; } }", false)]
    public async Task Only_a_loop_that_does_nothing_else_in_a_handler_that_the_host_alone_calls_is_handed_on(string script, bool isHandedOn)
    {
        await using var harness = new CatalogHarness();
        var compiled = harness.Compiler.Compile(harness.Compiler.Read("main", script), "main", CancellationToken.None);
        Assert.DoesNotContain(compiled.Diagnostics, diagnostic => diagnostic.IsError);
        Assert.Equal(isHandedOn, compiled.Assembly.AsSpan().IndexOf("HandOn"u8) >= 0);
        if (isHandedOn)
        {
            await harness.MustPut(script);
            Assert.Equal([1, 2, 3], await harness.Serve());
        }
    }

    [Fact]
    public async Task Errors_below_a_handed_on_stream_keep_their_lines()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut("""
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                await foreach (var chunk
                    in Fleet.LeastLoaded().StartGenerate(
                        request))
                {
                    yield return chunk;
                }

                throw new Exception("line 10");
            }
            """);
        var error = await Assert.ThrowsAsync<Exception>(() => harness.Serve());
        Assert.Contains("main.csx:line 10", error.StackTrace, StringComparison.Ordinal);
    }

    /// <returns>Tokens, failure and log of a request that is read until some chunk and left.</returns>
    private static async Task<List<string>> RunAsync(string body, string loop, int readUntil)
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut("async IAsyncEnumerable<Chunk> HandleRequest(Request request) { await Task.CompletedTask; " + Text(body, loop) + " }" + Own);
        using var lease = harness.Catalog.Acquire(null);
        var seen = new List<string>();
        try
        {
            await foreach (var chunk in lease.HandleRequest(new FakeRequest(10)))
            {
                seen.Add(string.Join(' ', chunk.Tokens.ToArray()));
                if (seen.Count == readUntil)
                {
                    break;
                }
            }
        }
        catch (Exception e)
        {
            // Which of the two null references it is, is the runtime's affair.
            seen.Add(e is ArgumentNullException or NullReferenceException ? "null" : e.Message);
        }

        Assert.Equal(body.Contains("own", StringComparison.OrdinalIgnoreCase) || body.Contains("Counting", StringComparison.Ordinal), Logged().Any());
        Assert.Equal(0, harness.Fleet.Engines.Sum(engine => engine.Generating));
        return [.. seen, .. Logged(), $"{harness.Router().Versions[0].Errors} errors"];

        IEnumerable<string> Logged() => harness.Loggers.Lines.Where(line => line.StartsWith("Information: main@1 req", StringComparison.Ordinal));
    }

    private static string Text(string body, string loop)
    {
        var text = body.Replace('\'', '"').Replace("[generate]", "[Fleet.LeastLoaded().StartGenerate(request)]", StringComparison.Ordinal);
        var parts = text.Split('[', ']');
        return string.Concat(parts.Select((part, i) => i % 2 == 0 ? part : loop.Replace("$", part.StartsWith("own ", StringComparison.Ordinal) ? $"Own({part[4..]})" : part, StringComparison.Ordinal)));
    }
}
