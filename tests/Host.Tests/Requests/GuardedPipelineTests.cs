using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Commands;
using ScriptedServe.Host.Requests.Figures;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Guarding;
using ScriptedServe.Host.Tests.Scripts;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>The guard over real scripts and real requests.</summary>
public sealed class GuardedPipelineTests
{
    private const string OneInFive = """
        int served;
        async IAsyncEnumerable<Chunk> HandleRequest(Request request)
        {
            if (Interlocked.Increment(ref served) % 5 == 0) throw new InvalidOperationException("the fifth");
            await foreach (var chunk in Fleet.LeastLoaded().StartGenerate(request)) yield return chunk;
        }
        """;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_version_that_throws_on_one_request_in_five_is_rolled_back_by_itself_and_its_numbers_are_on_the_api(bool isCanary)
    {
        await using var world = await ScriptedWorld.WithAsync(CatalogHarness.Good);
        var time = world.World.Time;
        var figures = new FigureBook(time, TimeSpan.FromSeconds(120));
        var guard = new RouterGuard(new GuardedCatalog(world.Routers), figures, new GuardBounds(), world.Events, time, world.Log.CreateLogger<RouterGuard>());
        world.World.Ended = (router, trace) =>
        {
            figures.RequestEnded(router, trace);
            guard.RequestEnded(router, trace);
        };
        using var stop = new CancellationTokenSource();
        var guarding = guard.RunAsync(stop.Token);
        for (var i = 0; i < 40; i++)
        {
            await world.TraceAsync();
        }

        await world.PutAsync(OneInFive, activate: !isCanary);
        if (isCanary)
        {
            await world.Routers.Activate("main", VersionSelector.Of(2), new RouterActivation(RouterCause.None, Share: 30), CancellationToken.None);
        }

        time.Advance(TimeSpan.FromSeconds(1));
        var served = 0;
        while (guard.View("main") is not [{ State: TrialState.RolledBack }] && ++served < 1000)
        {
            await world.TraceAsync();
            time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Yield();
        }

        await stop.CancelAsync();
        await guarding;
        Assert.InRange(served, 20, 999);
        Assert.Equal((1, null), (world.Routers.List().Single().ActiveVersion, world.Routers.List().Single().Canary));
        Assert.Equal("main@1", (await world.TraceAsync()).Router);

        var listed = Assert.Single(new RouterListing(world.Routers, figures, guard).Routers());
        var trial = listed["guard"]![0]!;
        Assert.Equal(("rolled_back", 2, 1, isCanary), ((string)trial["state"]!, (int)trial["version"]!, (int)trial["against"]!, (bool)trial["is_canary"]!));
        Assert.Equal("errors", (string)trial["why"]!["measure"]!);
        Assert.Equal((long)trial["figures"]!["failed"]!["script"]!, (long)trial["figures"]!["requests"]! - (long)trial["figures"]!["ok"]!);
        Assert.True((long)trial["against_figures"]!["ok"]! >= 20);
        var (newer, older) = (listed["versions"]![0]!, listed["versions"]![1]!);
        Assert.True((double)newer["lately"]!["error_rate"]! > 0.1);
        Assert.Equal(0, (double)older["lately"]!["error_rate"]!);

        using var printed = new StringWriter();
        RouterTable.Write(new JsonObject { ["routers"] = new JsonArray(listed) }, printed);
        Assert.Contains($"main: the guard took back version 2 {(isCanary ? "beside" : "after")} version 1: ", printed.ToString(), StringComparison.Ordinal);
        Assert.Contains("requests failed", printed.ToString(), StringComparison.Ordinal);
    }
}
