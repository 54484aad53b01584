using System.Net.Http.Json;
using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;
using ScriptedServe.Tests.Support;

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

    [Fact]
    public async Task Engines_of_a_second_model_are_taken_where_the_host_was_told_of_it_and_a_router_chooses_between_the_two()
    {
        using var other = OtherModel();
        await using var small = await EngineProcess.StartAsync("http://127.0.0.1:0", "--model", other.Path, "--label", "small");
        await using var host = await HostProcess.StartAsync("--engines", "1", "--also-model", other.Name);
        using var attached = await host.Client.PostAsync("/admin/engines", JsonContent.Create(new { url = small.Address }));
        Assert.True(attached.IsSuccessStatusCode, await attached.Content.ReadAsStringAsync());

        await PutAsync(host, "only_small", "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.Role(\"small\").LeastLoaded().StartGenerate(request);");
        await PutAsync(host, "only_large", "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.First(e => !e.Labels.Contains(\"small\")).StartGenerate(request);");
        var cascade = await File.ReadAllTextAsync(TestPaths.InRepository("scripts", "examples", "cascade.csx"));
        await PutAsync(host, "always_sure", cascade.Replace("Options.Get(\"sure\", -0.5)", "-1000.0", StringComparison.Ordinal));
        await PutAsync(host, "never_sure", cascade.Replace("Options.Get(\"sure\", -0.5)", "1.0", StringComparison.Ordinal));

        const string prompt = "Once upon a time";
        var answers = new Dictionary<string, string>();
        foreach (var router in (string[])["only_small", "only_large", "always_sure", "never_sure"])
        {
            answers[router] = (string)(await CompleteAsync(host, prompt, router))["choices"]![0]!["text"]!;
        }

        Assert.NotEqual(answers["only_small"], answers["only_large"]);
        Assert.Equal(answers["only_small"], answers["always_sure"]);
        Assert.Equal(answers["only_large"], answers["never_sure"]);
        await host.NothingIsHeldAsync();

        await using var untold = await HostProcess.StartAsync("--engines", "1");
        using var refused = await untold.Client.PostAsync("/admin/engines", JsonContent.Create(new { url = small.Address }));
        Assert.False(refused.IsSuccessStatusCode);
        Assert.Contains(other.Name, await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    /// <summary>The built-in model with other weights, under another name.</summary>
    private static ModelCopy OtherModel()
    {
        var folder = Directory.CreateTempSubdirectory("small-teller-").FullName;
        foreach (var file in Directory.GetFiles(TestPaths.InRepository("engine", "models", "storyteller")))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }

        // The end of the file is of some tensor: zero is a number like any other.
        using var weights = File.OpenWrite(Path.Combine(folder, "model.safetensors"));
        weights.Seek(-64 << 10, SeekOrigin.End);
        weights.Write(new byte[64 << 10]);
        return new ModelCopy(folder);
    }

    private sealed record ModelCopy(string Path) : IDisposable
    {
        public string Name => System.IO.Path.GetFileName(Path);

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }

    private static Task<JsonObject> CompleteAsync(HostProcess host, string prompt, string router) =>
        host.PostAsync("/v1/completions", new JsonObject { ["prompt"] = prompt, ["max_tokens"] = 16, ["temperature"] = 1, ["seed"] = 3 }, router);

    private static async Task PutAsync(HostProcess host, string name, string text)
    {
        using var put = await host.Client.PutAsync($"/admin/routers/{name}?activate=true", new StringContent(text));
        Assert.True(put.IsSuccessStatusCode, await put.Content.ReadAsStringAsync());
    }
}
