using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>The model without weights goes through all that a real one does.</summary>
public sealed class SyntheticModelTests
{
    [Fact]
    public async Task Every_router_gives_the_same_text_and_KV_really_moves()
    {
        await using var host = await HostProcess.StartAsync("--model", "synthetic:vocab=600,layers=3,step-us=500,token-us=2");
        foreach (var prompt in (string[])["Hello", string.Concat(Enumerable.Repeat("One long prompt, with ünïcode. ", 20))])
        {
            string? expected = null;
            foreach (var router in (string[])["data_parallel", "pd_disagg", "balanced_pd", "context_migration"])
            {
                var answer = await host.PostAsync("/v1/completions", new() { ["prompt"] = prompt, ["max_tokens"] = 40, ["seed"] = 5, ["logprobs"] = 2 }, router);
                var choice = answer["choices"]![0]!;
                var seen = choice["text"] + "\n" + choice["logprobs"]!.ToJsonString() + "\n" + choice["finish_reason"];
                expected ??= seen;
                Assert.Equal(expected, seen);
                Assert.Equal(40, (int)answer["usage"]!["completion_tokens"]!);
            }
        }

        var chat = await host.PostAsync(
            "/v1/chat/completions", new() { ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "Say something new" }), ["max_tokens"] = 5 }, "pd_disagg");
        Assert.Equal(5, ((string)chat["choices"]![0]!["message"]!["content"]!).Split(' ', StringSplitOptions.RemoveEmptyEntries).Length);
        var calls = (await host.GetJsonAsync($"/admin/requests/{chat["_request_id"]}"))["calls"]!.AsArray();
        Assert.True((long)calls.Single(call => (string)call!["call"]! == "RemoteSend")!["bytes"]! > 0);
        await host.NothingIsHeldAsync();
    }
}
