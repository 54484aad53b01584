using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>The same request gives the same tokens whichever router served it, and however many engines there are.</summary>
public sealed class PatternTests(PatternTests.Hosts hosts) : IClassFixture<PatternTests.Hosts>
{
    private static readonly string[] Routers = ["data_parallel", "round_robin", "pd_disagg", "balanced_pd", "context_migration", "dynamic"];

    private static readonly string LongPrompt =
        string.Concat(Enumerable.Range(1, 60).Select(i => $"Once upon a time there was a fox number {i} who lived near a river. "));

    /// <summary>One host with two engines, one with a single engine.</summary>
    public sealed class Hosts : IAsyncLifetime
    {
        public HostProcess Two { get; private set; } = null!;

        public HostProcess One { get; private set; } = null!;

        public async Task InitializeAsync()
        {
            Two = await HostProcess.StartAsync();
            One = await HostProcess.StartAsync("--engines", "1");
        }

        public async Task DisposeAsync()
        {
            await Two.DisposeAsync();
            await One.DisposeAsync();
        }
    }

    [Theory]
    [InlineData(0.0, 1)]
    [InlineData(1.0, 7)]
    [InlineData(1.0, 8)]
    public async Task Every_router_gives_the_same_tokens_and_logprobs(double temperature, int seed)
    {
        foreach (var prompt in (string[])["Once upon a time", "H", LongPrompt])
        {
            string? expected = null;
            foreach (var host in (HostProcess[])[hosts.One, hosts.Two])
            {
                foreach (var router in Routers)
                {
                    var answer = await host.PostAsync("/v1/completions", Completion(prompt, temperature, seed), router);
                    var choice = answer["choices"]![0]!;
                    var seen = choice["text"] + "\n" + choice["logprobs"]!.ToJsonString() + "\n" + choice["finish_reason"];
                    expected ??= seen;
                    Assert.Equal(expected, seen);
                    Assert.StartsWith(router + "@", (string)answer["_router"]!, StringComparison.Ordinal);
                }
            }
        }

        await hosts.Two.NothingIsHeldAsync();
        await hosts.One.NothingIsHeldAsync();
    }

    [Fact]
    public async Task Every_example_gives_the_tokens_that_data_parallel_gives()
    {
        foreach (var file in Directory.GetFiles(TestPaths.InRepository("scripts", "examples"), "*.csx"))
        {
            // Every request is hedged, every prompt is long enough.
            var name = Path.GetFileNameWithoutExtension(file);
            using var body = new StringContent(await File.ReadAllTextAsync(file));
            using var put = await hosts.Two.Client.PutAsync($"/admin/routers/{name}?activate=true&option.hedge_ms=0&option.min_tokens=1", body);
            Assert.True(put.IsSuccessStatusCode, await put.Content.ReadAsStringAsync());
            foreach (var prompt in (string[])["Once upon a time", LongPrompt])
            {
                var expected = await hosts.Two.PostAsync("/v1/completions", Completion(prompt, 1, 7), "data_parallel");
                var answer = await hosts.Two.PostAsync("/v1/completions", Completion(prompt, 1, 7), name);
                Assert.Equal(expected["choices"]!.ToJsonString(), answer["choices"]!.ToJsonString());
                Assert.StartsWith(name + "@", (string)answer["_router"]!, StringComparison.Ordinal);
            }
        }

        await hosts.Two.NothingIsHeldAsync();
    }

    [Fact]
    public async Task A_trace_shows_the_sub_calls_and_a_repeat_moves_nothing()
    {
        var prompt = "A list of a hundred things that nobody asked for before: " + LongPrompt;
        var first = await TraceOfAsync(prompt);
        var second = await TraceOfAsync(prompt);

        Assert.Equal(["PrepRecv", "RemoteSend", "StartGenerate"], first.Select(call => (string)call!["call"]!));
        Assert.All(first, call => Assert.True((double)call!["duration_ms"]! > 0));
        Assert.Equal("shm", (string)Call(first, "RemoteSend")["transport"]!);
        Assert.True((long)Call(first, "RemoteSend")["bytes"]! > 0);

        // The decode engine has all of it now: the prefill engine is not even asked.
        Assert.Equal((int)Call(first, "PrepRecv")["end"]!, (int)Call(second, "PrepRecv")["matched_tokens"]!);
        Assert.Equal("skipped", (string)Call(second, "RemoteSend")["outcome"]!);
        Assert.Equal(0, (long)Call(second, "RemoteSend")["bytes"]!);
    }

    private static JsonObject Completion(string prompt, double temperature, int seed) => new()
    {
        ["prompt"] = prompt,
        ["max_tokens"] = 24,
        ["temperature"] = temperature,
        ["seed"] = seed,
        ["logprobs"] = 3,
    };

    private static JsonNode Call(JsonArray calls, string name) => calls.Single(call => (string)call!["call"]! == name)!;

    private async Task<JsonArray> TraceOfAsync(string prompt)
    {
        var answer = await hosts.Two.PostAsync("/v1/completions", Completion(prompt, 0, 1), "pd_disagg");
        return (await hosts.Two.GetJsonAsync($"/admin/requests/{answer["_request_id"]}"))["calls"]!.AsArray();
    }
}
