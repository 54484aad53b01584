using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Tests.Scripts;

public sealed class ScriptLimitsTests
{
    private const string Head = "bool True = true; int n = 0;\nasync IAsyncEnumerable<Chunk> HandleRequest(Request request)\n{\n    if (request.Length == 1) await Run();\n    yield return new Chunk { Tokens = new[] { 7 } };\n}\n";

    // Line 7 is the line that must be named.
    [Theory]
    [InlineData("async Task Run() { while (True) { } }")]
    [InlineData("async Task Run() { while (True) n++; }")]
    [InlineData("async Task Run() { do n++; while (True); }")]
    [InlineData("async Task Run() { for (;;) ; }")]
    [InlineData("async Task Run() { foreach (var x in Enumerable.Repeat(1, int.MaxValue)) n += x; }")]
    [InlineData("async Task Run() { foreach (var (a, b) in Enumerable.Repeat((1, 2), int.MaxValue)) n += a; }")]
    [InlineData("async Task Run() { again: n++; goto again; }")]
    [InlineData("async Task Run() { switch (n) { case 0: goto case 1; case 1: goto case 0; } }")]
    [InlineData("async Task Run() { while (True) try { while (True) { } } catch { } }")]
    [InlineData("async Task Run() { while (True) { try { n++; } finally { while (True) { n--; } } } }")]
    [InlineData("async Task Run() { while (True) await Task.CompletedTask; }")]
    [InlineData("async Task Run() { while (True) await Inner(); } async Task Inner() => n++;")]
    [InlineData("async Task Run() { await Task.Yield(); while (True) { } }")]
    [InlineData("async Task Run() { n = (from x in Enumerable.Repeat(1, int.MaxValue) where x > 1 select x).Count(); }")]
    [InlineData("async Task Run() { n = (from x in Enumerable.Repeat(1, int.MaxValue) let y = x + 1 select y).Max(); }")]
    [InlineData("async Task Run() { n = (new M() + new M()).V; } struct M { public int V; public static M operator +(M a, M b) => a + b; }")]
    [InlineData("async Task Run() { n = new M()[1]; } struct M { public int this[int i] => this[i + 1]; }")]
    [InlineData("async Task Run() { n = new M(); } struct M { public static implicit operator int(M m) => m; }")]
    [InlineData("async Task Run() { n = Fall(1); } int Fall(int x) => x switch { > 0 => Fall(x + 1), _ => 0 };")]
    [InlineData("async Task Run() { await foreach (var x in Fall(1)) n += x; } async IAsyncEnumerable<int> Fall(int x) { await foreach (var y in Fall(x + 1)) yield return y; }")]
    [InlineData("async Task Run() { var a = new Node(); a.Next = a; n = a.GetHashCode(); } record Node { public Node Next { get; set; } }")]
    [InlineData("async Task Run() { Node a = null, b = null; for (var i = 0; i < 20000; i++) { a = new Node(a, 1); b = new Node(b, 1); } n = a == b ? 1 : 0; } record Node(Node Next, int X);")]
    [InlineData("async Task Run() { await Again(1); } async Task Again(int x) { await Task.Yield(); await Again(x + 1); }")]
    [InlineData("async Task Run() { while (True) _ = Storm(); } async Task Storm() { await new TaskCompletionSource().Task; }")]
    [InlineData("async Task Run() { while (True) { _ = Storm(); await Task.Yield(); } } async Task Storm() { await Task.Yield(); while (True) { } }")]
    [InlineData("async Task Run() { _ = Fork(); while (True) await Task.Yield(); } async Task Fork() { await Task.Yield(); _ = Fork(); await Fork(); }")]
    [InlineData("async Task Run() { try { await Spin(); } catch { n = 1; } } async Task Spin() { await Task.Yield(); while (True) { } }")]
    [InlineData("async Task Run() { while (True) try { throw new Exception(); } catch { n++; } }")]
    [InlineData("async Task Run() { n = new byte[int.MaxValue - 100].Length; }")]
    [InlineData("async Task Run() { long many = 1L << 40; n = new int[many].Length; }")]
    [InlineData("async Task Run() { n = new string('x', 1 << 29).Length + new List<long>(1 << 28).Count; }")]
    [InlineData("async Task Run() { n = \"x\".PadLeft(1 << 29).Length; }")]
    [InlineData("async Task Run() { var s = \"x\"; while (True) s += s; }")]
    [InlineData("async Task Run() { var all = new List<byte> { 1 }; while (True) all.AddRange(all); }")]
    [InlineData("async Task Run() { Deep(1); } int Deep(int x) => Deep(x + 1) + 1;")]
    [InlineData("async Task Run() { Func<int, int> f = null; f = x => f(x + 1) + 1; f(1); }")]
    [InlineData("async Task Run() { Action f = null; f = () => f(); f(); }")]
    [InlineData("async Task Run() { Action<int> f = null; f = delegate (int x) { f(x + 1); n++; }; f(1); }")]
    [InlineData("async Task Run() { n = Endless; } int Endless => Endless + 1;")]
    [InlineData("async Task Run() { n = new Tree().Depth; } class Tree { public Tree Sub = new Tree(); public int Depth { get => Sub.Depth + 1; } }")]
    [InlineData("async Task Run() { n = new Tree().Depth; } class Tree { public Tree() : this(new Tree().Depth) { } Tree(int depth) => Depth = depth; public int Depth { get; } }")]
    [InlineData("async Task Run() { n = new Tree(1).Depth; } record Tree(int Depth) { public Tree Sub { get; } = new Tree(Depth + 1); }")]
    [InlineData("async Task Run() { n = ((Tree)new Tree(1)).Depth; } struct Tree(int depth) { object sub = new Tree(depth + 1); public int Depth => 1; }")]
    [InlineData("async Task Run() { n = Enumerable.Range(0, int.MaxValue).Count(x => x > -1); }")]
    [InlineData("async Task Run() { await Async(1); } async Task Async(int x) => await Async(x + 1);")]
    [InlineData("async Task Run() { foreach (var x in Numbers()) n += x; } IEnumerable<int> Numbers() { while (True) yield return 1; }")]
    [InlineData("async Task Run() { n = Late.Value; } static class Late { public static int Value = Count(); static int Count() { var i = 0; while (i >= 0) i ^= 1; return i; } }")]
    [InlineData("async Task Run() { var all = new List<byte[]>(); while (True) all.Add(new byte[1 << 20]); }")]
    [InlineData("async Task Run() { n = Again(); } int Again() { try { return Again(); } finally { Again(); } }")]
    [InlineData("async Task Run() { while (True) { try { Spin(); } catch (Exception e) when (e is not null) { n++; } } } void Spin() { while (True) { } }")]
    [InlineData("async Task Run() { n = Again(); } int Again() { try { return Again(); } catch { return Again(); } }")]
    public async Task A_runaway_is_stopped_where_it_runs_and_the_router_goes_on_serving(string run)
    {
        await using var harness = new CatalogHarness(new ScriptLimits { BudgetMs = 100, BudgetMib = 64 });
        await harness.MustPut(Head + run);
        var stopped = ScriptErrors.Unwrap(await Assert.ThrowsAnyAsync<Exception>(() => harness.Serve(new FakeRequest(1))));
        var limit = Assert.IsType<ScriptLimitException>(stopped);
        Assert.Equal(("main.csx", 7), (limit.File, limit.Line));
        Assert.Equal([7], await harness.Serve(new FakeRequest(2)));
        Assert.Equal(1, harness.Catalog.List().Single().Versions[0].Errors);
    }

    [Fact]
    public async Task A_runaway_in_a_loaded_neighbour_is_stopped_and_named()
    {
        await using var harness = new CatalogHarness(new ScriptLimits { BudgetMs = 100 });
        await File.WriteAllTextAsync(Path.Combine(harness.Root, "_spin.csx"), "\n\nvoid Spin() { while (true) { } }");
        await harness.MustPut("#load \"_spin.csx\"\nIAsyncEnumerable<Chunk> HandleRequest(Request request) { Spin(); return null; }");
        var limit = await Assert.ThrowsAsync<ScriptLimitException>(() => harness.Serve());
        Assert.Equal(("_spin.csx", 3), (limit.File, limit.Line));
    }

    [Fact]
    public async Task What_the_threads_of_one_call_use_at_the_same_time_counts_together_and_in_turn_apart()
    {
        var clock = new FakeTimeProvider();
        var budget = new ScriptBudget(TimeSpan.FromMilliseconds(80), long.MaxValue, TimeSpan.Zero, clock, TimeSpan.MaxValue);
        var scope = new ScriptScope(budget, "storm@1", requestId: null, CancellationToken.None);

        // One after the other, each with nearly all of the budget.
        await Loop(7);
        await Loop(7);

        // The third loops within the second's, on a thread of its own.
        var inner = new List<Exception?>();
        var outer = await Record.ExceptionAsync(() => Loop(5, () => inner.Add(Record.ExceptionAsync(() => Loop(5)).GetAwaiter().GetResult())));
        Assert.Contains("storm@1 ran for more than 80 ms", Assert.IsType<ScriptLimitException>(Assert.Single(inner)).Message, StringComparison.Ordinal);
        Assert.IsType<ScriptLimitException>(outer);

        // Turns of 10 ms, the most that counts at once.
        Task Loop(int turns, Action? last = null) => Task.Factory.StartNew(
            () =>
            {
                scope.Enter();
                for (var i = 0; i <= turns; i++)
                {
                    ScriptGuard.Check("storm.csx", 1);
                    clock.Advance(TimeSpan.FromMilliseconds(10));
                }

                last?.Invoke();
                ScriptGuard.Check("storm.csx", 1);
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    [Fact]
    public async Task A_lock_that_another_holds_is_not_waited_for_beyond_the_budget()
    {
        await using var harness = new CatalogHarness(new ScriptLimits { BudgetMs = 50 });
        await harness.MustPut(Head + "async Task Run() { lock (State.GetOrAdd(\"gate\", () => new object())) n++; }");
        var gate = harness.Globals.For("main", 1).State.GetOrAdd("gate", () => new object());
        using var held = new ManualResetEventSlim();
        using var release = new ManualResetEventSlim();
        var holder = Task.Run(() =>
        {
            lock (gate)
            {
                held.Set();
                release.Wait();
            }
        });
        held.Wait();
        var limit = await Assert.ThrowsAsync<ScriptLimitException>(() => harness.Serve(new FakeRequest(1)));
        Assert.Equal(("main.csx", 7), (limit.File, limit.Line));
        Assert.Contains("for a lock", limit.Message, StringComparison.Ordinal);
        release.Set();
        await holder;
        Assert.Equal([7], await harness.Serve(new FakeRequest(1)));
    }

    [Theory]
    [InlineData("void OnLoad() { while (true) { } }", "without awaiting anything (setting script-budget-ms)")]
    [InlineData("int x = Spin(); int Spin() { while (true) { } }", "the top-level statements failed")]
    public async Task A_version_that_runs_away_while_loading_is_rejected(string text, string reason)
    {
        // The clock stands still: it is the budget that stops it, however slow the machine.
        await using var harness = new CatalogHarness(new ScriptLimits { BudgetMs = 100 }, time: new FakeTimeProvider());
        await harness.MustPut(CatalogHarness.Answering(1));
        var result = await harness.Put(text + "\n" + CatalogHarness.Good);
        Assert.Contains(reason, Assert.Single(result.Diagnostics, diagnostic => diagnostic.IsError).Message, StringComparison.Ordinal);
        Assert.Equal([1], await harness.Serve());
    }

    [Theory]
    [InlineData("async Task OnLoad(CancellationToken cancelled) { Log.Info(\"waits\"); await Task.Delay(-1, cancelled); }")]
    [InlineData("async Task OnLoad() { Log.Info(\"waits\"); await new TaskCompletionSource().Task; }")]
    public async Task A_version_that_does_not_finish_loading_is_rejected(string text)
    {
        var time = new FakeTimeProvider();
        await using var harness = new CatalogHarness(new ScriptLimits { LoadMs = 300 }, time: time);
        await harness.MustPut(CatalogHarness.Answering(1));
        var putting = harness.Put(text + "\n" + CatalogHarness.Good);
        await harness.Logged("waits");

        // The limit may begin after a step of the clock: step until it has passed.
        while (!putting.IsCompleted)
        {
            time.Advance(TimeSpan.FromMilliseconds(300));
            await Task.WhenAny(putting, Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System));
        }

        var result = await putting;
        Assert.Contains(
            "OnLoad did not end within 300 ms (setting script-load-ms)",
            Assert.Single(result.Diagnostics, diagnostic => diagnostic.IsError).Message, StringComparison.Ordinal);
        Assert.Equal([1], await harness.Serve());
    }

    [Fact]
    public async Task A_cancelled_request_that_only_yields_is_stopped_after_its_grace()
    {
        await using var harness = new CatalogHarness(new ScriptLimits { CancelGraceMs = 20 });
        await harness.MustPut("async IAsyncEnumerable<Chunk> HandleRequest(Request request) { while (true) await Task.Yield(); yield break; }");
        using var gone = new CancellationTokenSource();
        var serving = harness.Serve(new FakeRequest(1, cancelled: gone.Token));
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => serving);
        Assert.Equal(0, harness.Catalog.List().Single().Versions[0].Leases);
    }

    [Fact]
    [SuppressMessage("Reliability", "CA2012", Justification = "The stream is driven by hand.")]
    public async Task The_budget_counts_between_awaits_and_not_over_a_stream()
    {
        await using var harness = new CatalogHarness(new ScriptLimits { BudgetMs = 100 });
        await harness.MustPut("""
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                for (var i = 0; i < 40; i++)
                {
                    var until = Time.GetTimestamp();
                    while (Time.GetElapsedTime(until).TotalMilliseconds < 5) { }
                    if (i % 2 == 0) await Task.Yield();
                    yield return new Chunk { Tokens = new[] { i } };
                }
            }
            """);
        Assert.Equal(Enumerable.Range(0, 40), await harness.Serve());
    }

    [Fact]
    public async Task Guarded_functions_still_mean_what_they_meant()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut("""
            delegate ref int Slot(int i);
            int[] data = { 1, 2, 3 };
            Lock gate = new();
            record Pair(int Left, string Right);
            int Twice(int x) => x * 2;
            void Bump() => data[0]++;
            int First { get => data[0]; set => data[0] = value; }
            int Last => data[^1];
            ref int At(int i) => ref data[i];
            int Fail() => throw new InvalidOperationException();
            async Task Later() => await Task.Yield();
            async Task<int> LaterValue() => await Task.FromResult(5);
            struct Money { public int Cents; public Money(int c) => Cents = c; public static Money operator +(Money a, Money b) => new(a.Cents + b.Cents); public static implicit operator int(Money m) => m.Cents; public int this[int i] => Cents + i; }
            async IAsyncEnumerable<Chunk> HandleRequest(Request request)
            {
                Bump(); First = First + 1; At(1) = 9;
                await Later();
                Func<Task> later = async () => { await Later(); };
                await later();
                lock (data) lock (gate) if (data.Length == 3) for (var i = 0; i < 1; i++) lock (gate) data[0] += 0;
                Func<int, Func<int, int>> Curried() => x => y => x + y;
                var ordered = string.Join("", from word in new[] { "b", "a" } orderby word descending let upper = word.ToUpperInvariant() where upper != "C" group upper by upper.Length into grouped from one in grouped select one);
                if (ordered != "BA" || new Pair(1, "x") != new Pair(1, "x") || new Pair(1, "x").ToString() != "Pair { Left = 1, Right = x }" || Curried()(1)(2) != 3 || new long[data.Length * 2].Length != 6) throw new Exception(ordered);
                int Local(int x) => x > 0 ? Local(x - 1) : 40;
                Slot slot = i => ref data[i];
                slot(2)++;
                Func<Task<int>> value = async () => await LaterValue();
                Action act = () => First++;
                act();
                var text = $"{string.Join(',', data.Select(x => x + 1))}:{(new[] { "a" }.Count(s => s == "a"))}";
                var tag = 1 switch { 1 => 1, _ => 2 };
                var query = (from x in data where x > 3 let y = x select y).Count();
                // a comment } and a brace {
                if (First > 0)
                    for (var i = 0; i < 1; i++)
                        foreach (var x in data) // trailing
                            if (x < 0) goto end;
            #if NEVER
                nonsense
            #endif
                end:
                yield return new Chunk { Tokens = new[] { First, Last, data[1], Local(3), await value(), text.Length, query, new Money(2) + new Money(3), new Money(1)[1], Twice(4) } };
            }
            """);
        Assert.Equal([4, 4, 9, 40, 5, 8, 3, 5, 2, 8], await harness.Serve());
    }

    [Fact]
    public async Task PlanStrategy_runs_at_each_interval_never_over_itself_and_stops_with_its_version()
    {
        var time = new FakeTimeProvider();
        await using var harness = new CatalogHarness(new ScriptLimits { PlanIntervalMs = 1000, PlanLimitMs = 2500 }, time: time);
        await harness.MustPut("""
            async Task PlanStrategy()
            {
                var n = State.GetOrAdd("n", () => new int[1]);
                n[0]++;
                Log.Info($"plan {n[0]}");
                if (n[0] == 2) throw new Exception("odd");
                if (n[0] == 3) await new TaskCompletionSource().Task;
            }
            """ + CatalogHarness.Answering(1));
        await harness.Logged("plan 1");
        await Advance("plan 2");
        await harness.Logged("PlanStrategy failed: main.csx(6): Exception: odd");
        await Advance("plan 3");

        // The third never ends: it is given up on after its limit, and no fourth begins.
        await Advance("PlanStrategy failed: it did not end within 2500 ms");
        Assert.Equal(2, harness.Catalog.List().Single().Versions[0].PlanErrors);
        await harness.MustPut(CatalogHarness.Answering(2));
        for (var i = 0; i < 5; i++)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }

        Assert.DoesNotContain(harness.Loggers.Lines, line => line.Contains("plan 4", StringComparison.Ordinal));
        Assert.Equal(0, harness.Catalog.List().Single().Versions.Single(version => version.Version == 1).Leases);

        // The driver's delay may begin after a step of the clock: step until it is heard.
        async Task Advance(string line)
        {
            for (var heard = harness.Logged(line); !heard.IsCompleted; await Task.WhenAny(heard, Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System)))
            {
                time.Advance(TimeSpan.FromMilliseconds(500));
            }
        }
    }

    [Fact]
    public void Settings_out_of_range_are_all_named()
    {
        Assert.Empty(new ScriptLimits().Errors());
        Assert.Equal(2, new ScriptLimits { BudgetMs = 0, VersionsKept = 1 }.Errors().Count);
    }
}
