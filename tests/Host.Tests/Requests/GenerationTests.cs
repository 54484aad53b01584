using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>Generations that a router begins before it reads them, on engines behind the real calls.</summary>
public sealed class GenerationTests
{
    private static readonly Func<int, CancellationToken, Task> Never = static (_, token) => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, token);

    [Fact]
    public async Task The_loser_of_a_race_is_stopped_at_once_though_it_never_answers_and_the_request_goes_on()
    {
        var (a, b) = (new FakeEngine("a") { BeforeToken = Never }, new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        var second = new TaskCompletionSource();
        b.BeforeToken = (i, token) => i == 0 ? Task.CompletedTask : second.Task.WaitAsync(token);
        world.Router = request => Race(world, request);

        var serving = world.RunAsync();

        // The winner is still generating: it is not the request's end that stops the loser.
        await FakeWorld.Eventually(() => b.Generating == 1 && a.CallNames.Contains("StartGenerate") && a.Generating == 0);
        Assert.False(serving.IsCompleted);
        second.SetResult();
        Assert.Equal([100, 101, 102, 103], await serving);
        await FakeWorld.Eventually(() => a is { Generating: 0, Reservations: 0 } && b.Generating == 0 && world.LeasesHeld == 0);
        var calls = world.Traces.Recent(1)[0].Calls.Where(call => call.Call == "StartGenerate").ToDictionary(call => call.Engine, call => call.Outcome);
        Assert.Equal((CallOutcome.Cancelled, CallOutcome.Ok), (calls["engine-0"], calls["engine-1"]));
        Assert.All(world.Fleet.Members, member => Assert.Equal(0, member.Work.Calls));
    }

    [Fact]
    public async Task A_generation_that_a_router_forgets_ends_with_the_request()
    {
        var (a, b) = (new FakeEngine("a"), new FakeEngine("b"));
        await using var world = await FakeWorld.WithAsync(a, b);
        world.Router = request =>
        {
            _ = world.Fleet.Scripts[0].StartGenerate(request).Begin();
            return world.Fleet.Scripts[1].StartGenerate(request);
        };
        Assert.Equal([100, 101, 102, 103], await world.RunAsync());
        await FakeWorld.Eventually(() => a.Generating == 0 && world.LeasesHeld == 0 && world.Fleet.Members.All(member => member.Work.Calls == 0));
    }

    [Fact]
    public async Task Sampling_of_the_router_goes_to_the_engine_in_place_of_the_clients()
    {
        var a = new FakeEngine("a");
        await using var world = await FakeWorld.WithAsync(a);
        world.Router = request => world.Fleet.Scripts[0].StartGenerate(request, sampling: request.Sampling with { MaxTokens = 3, Logprobs = 0 });
        Assert.Equal([100, 101, 102], await world.RunAsync());
        Assert.Equal((3, 0), (a.Last<Contracts.V1.StartGenerateRequest>().Sampling.MaxTokens, a.Last<Contracts.V1.StartGenerateRequest>().Sampling.Logprobs));
        Assert.Equal("tiny", world.Fleet.Scripts[0].Model);
    }

    private static async IAsyncEnumerable<Chunk> Race(FakeWorld world, Request request)
    {
        var winner = await Generation.First([.. world.Fleet.Scripts.Select(engine => engine.StartGenerate(request).Begin())]);
        await foreach (var chunk in winner)
        {
            yield return chunk;
        }
    }
}
