using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Tests.Scripts;

public sealed class RouterCatalogTests
{
    [Fact]
    public async Task A_text_that_does_not_compile_leaves_the_active_version_serving()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));

        var broken = await harness.Put("IAsyncEnumerable<Chunk> HandleRequest(Request request) => nonsense;");

        Assert.Equal(RouterPhase.Rejected, broken.Version.State);
        Assert.Contains(broken.Diagnostics, diagnostic => diagnostic is { File: "main.csx", Line: 1, Id: "CS0103", IsError: true });
        Assert.Equal([1], await harness.Serve());
        Assert.Equal(1, harness.Catalog.List().Single().ActiveVersion);
    }

    [Fact]
    public async Task Who_only_asks_whether_a_router_serves_is_not_counted_as_a_request()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        harness.Catalog.Acquire(null).Dispose();
        Assert.Equal(0, harness.Router().Versions[0].Requests);
        await harness.Serve();
        Assert.Equal(1, harness.Router().Versions[0].Requests);
    }

    [Fact]
    public async Task The_same_text_makes_no_new_version()
    {
        await using var harness = new CatalogHarness();
        var first = await harness.Put(CatalogHarness.Answering(1));
        var again = await harness.Put(CatalogHarness.Answering(1));
        Assert.True(first.Created);
        Assert.False(again.Created);
        Assert.Equal(first.Version.Version, again.Version.Version);

        // The same broken text keeps its number too.
        var broken = await harness.Put("nonsense");
        Assert.Equal(broken.Version.Version, (await harness.Put("nonsense")).Version.Version);
        Assert.Equal(broken.Version.Version + 1, (await harness.MustPut(CatalogHarness.Answering(2))).Version);
    }

    [Fact]
    public async Task A_request_stays_on_the_version_it_entered_while_others_take_over()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        using var lease = harness.Catalog.Acquire(null);
        for (var token = 2; token < 8; token++)
        {
            await harness.MustPut(CatalogHarness.Answering(token));
        }

        Assert.Equal([7], await harness.Serve());
        var old = harness.Catalog.List().Single().Versions.Single(version => version.Version == 1);
        Assert.Equal((RouterPhase.Draining, 1L), (old.State, old.Leases));
        await foreach (var chunk in lease.HandleRequest(new FakeRequest(3)))
        {
            Assert.Equal(1, chunk.Tokens.Span[0]);
        }
    }

    [Fact]
    public async Task A_hundred_swaps_under_traffic_alter_no_stream()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(Numbered(0));
        for (var i = 1; i <= 100; i++)
        {
            // Four streams are under way across the swap, four more come in while it happens.
            var swapped = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var across = Enumerable.Range(0, 4).Select(_ => Stream(swapped.Task)).ToList();
            var put = harness.MustPut(Numbered(i));
            var amid = Enumerable.Range(0, 4).Select(_ => Task.Run(() => Stream(Task.CompletedTask))).ToList();
            Assert.Equal(i + 1, (await put).Version);
            if (i % 10 == 0)
            {
                Assert.Equal(i, (await harness.Rollback()).Version);
                await harness.Activate("main", i + 1);
            }

            swapped.SetResult();
            Assert.All(await Task.WhenAll(across), version => Assert.Equal(i, version));
            Assert.All(await Task.WhenAll(amid), version => Assert.InRange(version, i, i + 1));
            Assert.Equal(i + 1, await Stream(Task.CompletedTask));
        }

        Assert.All(harness.Catalog.List().Single().Versions, version => Assert.Equal((0L, 0L), (version.Leases, version.Errors)));

        // Every token tells the version that made it.
        async Task<int> Stream(Task midway)
        {
            using var lease = harness.Catalog.Acquire(null);
            var tokens = new List<int>();
            await foreach (var chunk in lease.HandleRequest(new FakeRequest(5)))
            {
                tokens.AddRange(chunk.Tokens.ToArray());
                await (tokens.Count == 4 ? midway : Task.CompletedTask);
            }

            Assert.Equal(Enumerable.Repeat(lease.Version, 8), tokens);
            return lease.Version;
        }

        // Version numbers count from 1, and every text is new.
        static string Numbered(int i) => $$"""
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                for (var n = 0; n < 8; n++)
                {
                    await Task.Yield();
                    yield return new Chunk { Tokens = new[] { {{i + 1}} } };
                }
            }
            """;
    }

    [Fact]
    public async Task Rollback_goes_back_through_the_versions_that_were_active()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await Assert.ThrowsAsync<RouterRefusedException>(() => harness.Rollback());
        await harness.MustPut(CatalogHarness.Answering(2));
        await harness.MustPut(CatalogHarness.Answering(3));
        Assert.Equal(2, (await harness.Rollback()).Version);
        Assert.Equal([2], await harness.Serve());

        // Not back to the version that was rolled back.
        Assert.Equal(1, (await harness.Rollback()).Version);
        Assert.Equal([1], await harness.Serve());
    }

    [Fact]
    public async Task An_inactive_version_serves_requests_that_name_it_as_long_as_it_is_kept()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await harness.MustPut(CatalogHarness.Answering(2), activate: false);
        Assert.Equal([1], await harness.Serve());
        Assert.Equal([2], await harness.Serve(spec: "main@2"));
        for (var token = 3; token < 6; token++)
        {
            await harness.MustPut(CatalogHarness.Answering(token));
        }

        var error = Assert.Throws<RouterNotFoundException>(() => harness.Catalog.Acquire("main@2"));
        Assert.Contains("loaded are: 3, 4, 5", error.Message, StringComparison.Ordinal);
        foreach (var spec in (string[])["other", "main@x", "main@-1", "main@", "@1", ""])
        {
            Assert.Throws<RouterNotFoundException>(() => harness.Catalog.Acquire(spec));
        }
    }

    [Fact]
    public async Task What_is_in_use_is_not_deleted_and_the_reason_is_told()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await harness.MustPut(CatalogHarness.Answering(2), "side");
        await harness.MustPut(CatalogHarness.Answering(3), "side");
        using (harness.Catalog.Acquire("side@1"))
        {
            await Refused("side@1 is serving 1 requests", () => harness.Delete("side", 1));
            await Refused("side@1 is serving 1 requests", () => harness.Delete("side", null));
        }

        await Refused("side@2 cannot be deleted: it is the active version", () => harness.Delete("side", 2));
        await Refused("main is the default router", () => harness.Delete("main", null));
        await harness.Delete("side", 1);
        await harness.Delete("side", null);
        await Refused("side has no loaded version", () => harness.Delete("side", null));
        Assert.Throws<RouterNotFoundException>(() => harness.Catalog.Acquire("side"));

        // A name that comes back goes on counting.
        Assert.Equal(3, (await harness.MustPut(CatalogHarness.Answering(4), "side")).Version);

        static async Task Refused(string reason, Func<Task> action) =>
            Assert.Contains(reason, (await Assert.ThrowsAsync<RouterRefusedException>(action)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_version_whose_OnLoad_throws_changes_nothing()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        var failed = await harness.Put("void OnLoad()\n{\n    throw new Exception(\"no config\");\n}\n" + CatalogHarness.Answering(2));
        var error = Assert.Single(failed.Diagnostics);
        Assert.Equal(("main.csx", 3, ScriptDiagnosticIds.LoadFailed), (error.File, error.Line, error.Id));
        Assert.Contains("OnLoad failed: main.csx(3): Exception: no config", error.Message, StringComparison.Ordinal);
        Assert.Equal([1], await harness.Serve());
    }

    [Fact]
    public async Task Top_level_variables_belong_to_a_version_and_State_to_the_name()
    {
        await using var harness = new CatalogHarness();
        for (var i = 0; i < 2; i++)
        {
            await harness.MustPut($$"""
                var own = 0; // {{i}}
                async IAsyncEnumerable<Chunk> HandleRequest(Request request)
                {
                    var shared = State.GetOrAdd("n", () => new int[1]);
                    yield return new Chunk { Tokens = new[] { ++own, ++shared[0] } };
                }
                """);
            await harness.Serve();
        }

        Assert.Equal([2, 3], await harness.Serve());
    }

    [Theory]
    [InlineData("State.Set(\"x\", new Own());")]
    [InlineData("State.Set(\"x\", new List<Own>());")]
    [InlineData("State.Set(\"x\", new Dictionary<string, Own[]>());")]
    [InlineData("State.Set<object>(\"x\", new Own());")]
    [InlineData("State.Set(\"x\", new List<object> { new Own() });")]
    [InlineData("State.Set<Func<int>>(\"x\", () => 1);")]
    [InlineData("State.GetOrAdd(\"x\", () => (1, new Own()));")]
    public async Task State_refuses_what_would_keep_a_version_loaded(string statement)
    {
        await using var harness = new CatalogHarness();
        var failed = await harness.Put($"class Own {{ }} void OnLoad() {{ {statement} }} {CatalogHarness.Good}");
        Assert.Contains("would keep this version of the script loaded", Assert.Single(failed.Diagnostics).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Options_given_at_activation_stand_above_configured_ones()
    {
        await using var harness = new CatalogHarness();
        harness.Configured["main"] = new Dictionary<string, string> { ["a"] = "1", ["b"] = "2" };
        const string text = """
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                yield return new Chunk { Tokens = new[] { Options.Get("A", 0), Options.Get("b", 0), Options.Get("c", 9) } };
            }
            """;
        await harness.MustPut(text, options: new Dictionary<string, string> { ["B"] = "5" });
        Assert.Equal([1, 5, 9], await harness.Serve());
        await harness.Activate("main", 1, options: new Dictionary<string, string> { ["c"] = "x" });
        var error = await Assert.ThrowsAsync<FormatException>(() => harness.Serve());
        Assert.Contains("Option c is \"x\"", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_so_many_compiles_wait()
    {
        await using var harness = new CatalogHarness(new ScriptLimits { CompileQueue = 2 });
        var puts = Enumerable.Range(0, 12).Select(i => harness.Put(CatalogHarness.Answering(i), $"r{i}")).ToList();
        var outcomes = await Task.WhenAll(puts.Select(async put =>
        {
            try
            {
                return (await put).Accepted ? "accepted" : "rejected";
            }
            catch (RouterRefusedException e)
            {
                return e.Code;
            }
        }));
        Assert.Contains("accepted", outcomes);
        Assert.Contains("compile_queue_full", outcomes);
        Assert.True((await harness.Put(CatalogHarness.Answering(1), "later")).Accepted);
    }

    [Fact]
    public async Task Warming_up_gives_way_to_changes_and_leaves_nothing_behind()
    {
        var time = new FakeTimeProvider();
        await using var harness = new CatalogHarness(time: time);
        await harness.MustPut(CatalogHarness.Answering(1));
        using var stop = new CancellationTokenSource();
        var warming = harness.Catalog.WarmUp(compiles: 1000, stop.Token);

        // Time stands still: it rests after its first compile at the latest.
        await harness.MustPut(CatalogHarness.Answering(2));
        Assert.Equal([2], await harness.Serve());
        Assert.Equal(2, harness.Catalog.LoadContexts);
        Assert.Equal(["main"], harness.Catalog.List().Select(router => router.Name));
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => warming);

        // Without a router there is nothing else to compile than its own.
        await using var empty = new CatalogHarness(time: TimeProvider.System);
        await empty.Catalog.WarmUp(compiles: 2, CancellationToken.None);
        Assert.Equal(0, empty.Catalog.LoadContexts);
    }

    [Theory]
    [InlineData("")]
    [InlineData("A")]
    [InlineData("a b")]
    [InlineData("../x")]
    [InlineData("_part")]
    [InlineData("a@1")]
    public async Task Names_that_could_not_be_files_or_headers_are_refused(string name)
    {
        await using var harness = new CatalogHarness();
        var error = await Assert.ThrowsAsync<RouterRefusedException>(() => harness.Put(CatalogHarness.Good, name));
        Assert.Equal(RouterRefusal.Malformed, error.Refusal);
    }

    [Fact]
    public void The_lifecycle_moves_only_along_its_arrows()
    {
        var arrows = new Dictionary<(RouterPhase, RouterStep), RouterPhase>
        {
            [(RouterPhase.Compiling, RouterStep.Load)] = RouterPhase.Loaded,
            [(RouterPhase.Compiling, RouterStep.Reject)] = RouterPhase.Rejected,
            [(RouterPhase.Loaded, RouterStep.Activate)] = RouterPhase.Active,
            [(RouterPhase.Active, RouterStep.Supersede)] = RouterPhase.Loaded,
            [(RouterPhase.Loaded, RouterStep.Retire)] = RouterPhase.Draining,
            [(RouterPhase.Active, RouterStep.Retire)] = RouterPhase.Draining,
            [(RouterPhase.Draining, RouterStep.Unload)] = RouterPhase.Unloaded,
        };
        foreach (var phase in Enum.GetValues<RouterPhase>())
        {
            foreach (var step in Enum.GetValues<RouterStep>())
            {
                Assert.Equal(arrows.TryGetValue((phase, step), out var next) ? next : null, RouterLifecycle.Next(phase, step));
                Assert.Equal(RouterLifecycle.CanStep(phase, step), arrows.ContainsKey((phase, step)));
            }
        }
    }

    [Fact]
    public async Task Retiring_waits_for_every_pin_that_succeeded_and_none_succeeds_after()
    {
        for (var round = 0; round < 200; round++)
        {
            var version = new RouterVersion("x", 1, new ScriptSource([new ScriptFile("x.csx", "")], "", []), new RouterOrigin("", ""), default);
            version.Step(RouterStep.Load);
            using var start = new Barrier(5);
            var pinned = 0;
            var released = 0;
            var threads = Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
            {
                start.SignalAndWait();
                while (version.TryPin())
                {
                    Interlocked.Increment(ref pinned);
                    Assert.False(version.Drained.IsCompleted);
                    Interlocked.Increment(ref released);
                    version.Unpin();
                }
            })).ToArray();
            start.SignalAndWait();
            version.Retire();
            await Task.WhenAll(threads);
            await version.Drained;
            Assert.Equal((pinned, 0L), (released, version.Leases));
            Assert.False(version.TryPin());
        }
    }
}
