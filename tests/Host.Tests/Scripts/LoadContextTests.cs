using System.Runtime.CompilerServices;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>
/// Runs when all other tests have ended: as long as they bring new methods, the runtime puts off tiering up the old ones, and holds on to
/// their load contexts meanwhile.
/// </summary>
[CollectionDefinition(nameof(LoadContextTests), DisableParallelization = true)]
[Collection(nameof(LoadContextTests))]
public sealed class LoadContextTests
{
    [Fact]
    public async Task Versions_that_have_drained_leave_no_load_context_behind()
    {
        var harness = new CatalogHarness();
        for (var i = 0; i < 100; i++)
        {
            await Swap(harness, i);
        }

        await harness.Catalog.DisposeAsync();
        // The runtime's own compiler holds methods until it has tiered them up.
        for (var i = 0; i < 1000 && harness.Catalog.LoadContexts > 1; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System);
        }

        // A stack slot of an unoptimised build may still name the last one; a leak would show as all of them.
        Assert.InRange(harness.Catalog.LoadContexts, 0, 1);
        await harness.DisposeAsync();

        // A script that does what could hold on to it: state, statics, closures, options, a planner, an error with a stack trace read, a request cut off.
        [MethodImpl(MethodImplOptions.NoInlining)]
        static async Task Swap(CatalogHarness harness, int i)
        {
            await harness.MustPut($$"""
                int calls = {{i}};
                static class Shared { public static List<object> Kept = new() { new Own() }; }
                record Own { public int X { get; init; } = 1; }
                void OnLoad() { State.GetOrAdd("seen", () => new Dictionary<string, int>())["n"] = calls; Shared.Kept.Add((Func<int>)(() => calls)); }
                async Task PlanStrategy() { await Task.Delay(TimeSpan.FromHours(1), Time); }
                void OnUnload() { Log.Info("bye"); }
                async IAsyncEnumerable<Chunk> HandleRequest(Request request)
                {
                    calls++;
                    var regex = new System.Text.RegularExpressions.Regex("a+", System.Text.RegularExpressions.RegexOptions.NonBacktracking);
                    if (request.Length == 1) throw new InvalidOperationException("one");
                    await foreach (var chunk in Fleet.Where(e => e.Labels.Contains("decode") && calls > -1).LeastLoaded().StartGenerate(request)) yield return chunk;
                }
                """);
            Assert.Equal([1, 2, 3], await harness.Serve());
            var error = await Assert.ThrowsAsync<InvalidOperationException>(() => harness.Serve(new FakeRequest(1)));
            Assert.Equal(("main.csx", 11), ScriptErrors.Locate(error));
            using var lease = harness.Catalog.Acquire(null);
            await foreach (var _ in lease.HandleRequest(new FakeRequest(2)))
            {
                break;
            }
        }
    }
}
