using System.Net.Http.Json;
using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>Engines the host did not start: attached by URL, over TCP.</summary>
public sealed class AttachedEngineTests
{
    [Fact]
    public async Task An_engine_attached_over_TCP_serves_and_moves_KV_both_ways()
    {
        // No shared memory: as between machines.
        await using var remote = await EngineProcess.StartAsync("http://127.0.0.1:0", "--kv-transport", "tcp", "--label", "remote");
        await using var host = await HostProcess.StartAsync("--engines", "1");
        using var attached = await host.Client.PostAsync("/admin/engines", JsonContent.Create(new { url = remote.Address }));
        Assert.True(attached.IsSuccessStatusCode, await attached.Content.ReadAsStringAsync());

        var prompt = string.Concat(Enumerable.Repeat("The fox went to the river and the river was cold. ", 20));
        var expected = (string)(await CompleteAsync(host, prompt, "data_parallel"))["choices"]![0]!["text"]!;
        foreach (var (name, from, to) in ((string, string, string)[])[("outward", "!e.Labels.Contains(\"remote\")", "e.Labels.Contains(\"remote\")"), ("inward", "e.Labels.Contains(\"remote\")", "!e.Labels.Contains(\"remote\")")])
        {
            await PutAsync(host, name, $$"""
                async IAsyncEnumerable<Chunk> HandleRequest(Request request)
                {
                    var (from, to) = (Fleet.First(e => {{from}}), Fleet.First(e => {{to}}));
                    var kv = await to.PrepRecv(request, end: request.Length - 1);
                    await from.RemoteSend(request, kv);
                    await foreach (var chunk in to.StartGenerate(request, kv)) yield return chunk;
                }
                """);
        }

        foreach (var name in (string[])["outward", "inward"])
        {
            var answer = await CompleteAsync(host, name + prompt, name);
            Assert.Equal((string)(await CompleteAsync(host, name + prompt, "data_parallel"))["choices"]![0]!["text"]!, (string)answer["choices"]![0]!["text"]!);
            var calls = (await host.GetJsonAsync($"/admin/requests/{answer["_request_id"]}"))["calls"]!.AsArray();
            var send = calls.Single(call => (string)call!["call"]! == "RemoteSend")!;
            Assert.Equal("tcp", (string)send["transport"]!);
            Assert.True((long)send["bytes"]! > 0);
        }

        Assert.False(string.IsNullOrEmpty(expected));
        await host.NothingIsHeldAsync();
    }

    private static Task<JsonObject> CompleteAsync(HostProcess host, string prompt, string router) =>
        host.PostAsync("/v1/completions", new JsonObject { ["prompt"] = prompt, ["max_tokens"] = 16, ["temperature"] = 1, ["seed"] = 3 }, router);

    private static async Task PutAsync(HostProcess host, string name, string text)
    {
        using var put = await host.Client.PutAsync($"/admin/routers/{name}?activate=true", new StringContent(text));
        Assert.True(put.IsSuccessStatusCode, await put.Content.ReadAsStringAsync());
    }
}
