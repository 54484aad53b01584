using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>Scripts change under streaming traffic, and no stream notices.</summary>
public sealed class LiveSwapTests(LiveSwapTests.Host fixture) : IClassFixture<LiveSwapTests.Host>
{
    private const int Streams = 32;

    public sealed class Host : IAsyncLifetime
    {
        public HostProcess Process { get; private set; } = null!;

        public async Task InitializeAsync() => Process = await HostProcess.StartAsync();

        public Task DisposeAsync() => Process.DisposeAsync().AsTask();
    }

    private HostProcess Server => fixture.Process;

    [Fact]
    public async Task Streams_keep_their_tokens_while_scripts_are_saved_broken_mended_put_and_switched()
    {
        var expected = new string[Streams];
        for (var i = 0; i < Streams; i++)
        {
            expected[i] = await StreamAsync(i, CancellationToken.None);
        }

        using var stop = new CancellationTokenSource();
        var rounds = 0;
        var traffic = Enumerable.Range(0, Streams).Select(i => Task.Run(async () =>
        {
            do
            {
                Assert.Equal(expected[i], await StreamAsync(i, CancellationToken.None));
                Interlocked.Increment(ref rounds);
            }
            while (!stop.IsCancellationRequested);
        })).ToArray();

        var file = Path.Combine(Server.Scripts, "data_parallel.csx");
        var good = await File.ReadAllTextAsync(file);
        var before = await ActiveVersionAsync("data_parallel");

        await File.WriteAllTextAsync(file, good + "\n// saved once more\n");
        await Eventually.TrueAsync("the saved script is active", async () => await ActiveVersionAsync("data_parallel") > before, TimeSpan.FromSeconds(20));
        var saved = await ActiveVersionAsync("data_parallel");

        await File.WriteAllTextAsync(file, good + "\nthis does not compile;\n");
        await Eventually.TrueAsync("the broken script is reported", () => Task.FromResult(Server.Output.Contains("CS0246", StringComparison.Ordinal) || Server.Output.Contains("CS1002", StringComparison.Ordinal)), TimeSpan.FromSeconds(20), () => Server.Output);
        Assert.Equal(saved, await ActiveVersionAsync("data_parallel"));

        await File.WriteAllTextAsync(file, good + "\n// mended\n");
        await Eventually.TrueAsync("the mended script is active", async () => await ActiveVersionAsync("data_parallel") > saved, TimeSpan.FromSeconds(20));

        using var put = await Server.Client.PutAsync("/admin/routers/data_parallel?activate=true", new StringContent(good + "\n// pushed\n", Encoding.UTF8));
        Assert.Equal(201, (int)put.StatusCode);
        var pushed = await ActiveVersionAsync("data_parallel");

        for (var i = 0; i < 100; i++)
        {
            var version = i % 2 == 0 ? saved : pushed;
            using var switched = await Server.Client.PostAsync($"/admin/routers/data_parallel/activate?version={version}", null);
            Assert.True(switched.IsSuccessStatusCode, await switched.Content.ReadAsStringAsync());
        }

        await stop.CancelAsync();
        await Task.WhenAll(traffic);
        Assert.True(rounds >= Streams);
        await Server.NothingIsHeldAsync();
    }

    [Fact]
    public async Task An_edited_script_changes_what_the_next_request_does()
    {
        var file = Path.Combine(Server.Scripts, "mine.csx");
        await File.WriteAllTextAsync(file, "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet[0].StartGenerate(request);");
        await Eventually.TrueAsync("the new router is there", async () => await EngineServingAsync() is not null, TimeSpan.FromSeconds(20));
        var first = await EngineServingAsync();

        await File.WriteAllTextAsync(file, "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet[1].StartGenerate(request);");
        await Eventually.TrueAsync("the edit is in force", async () => await EngineServingAsync() is { } engine && engine != first, TimeSpan.FromSeconds(20));
    }

    /// <summary>The engine that a request through <c>mine</c> was served by, or null while there is no such router.</summary>
    private async Task<string?> EngineServingAsync()
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = JsonContent.Create(new { prompt = "The", max_tokens = 1 }) };
        request.Headers.Add("X-Router", "mine");
        using var response = await Server.Client.SendAsync(request);
        if (!response.IsSuccessStatusCode)
        {
            return null;
        }

        var trace = await Server.GetJsonAsync($"/admin/requests/{response.Headers.GetValues("X-Request-Id").Single()}");
        return (string)trace["calls"]![0]!["engine"]!;
    }

    private async Task<int> ActiveVersionAsync(string name)
    {
        var routers = (await Server.GetJsonAsync("/admin/routers"))["routers"]!.AsArray();
        return (int)routers.Single(router => (string)router!["name"]! == name)!["active_version"]!;
    }

    private async Task<string> StreamAsync(int seed, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
        {
            Content = JsonContent.Create(new { prompt = $"Story {seed}. Once upon a time", max_tokens = 40, temperature = 1.0, seed, stream = true, ignore_eos = true }),
        };
        using var response = await Server.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        Assert.True(response.IsSuccessStatusCode, await (response.IsSuccessStatusCode ? Task.FromResult("") : response.Content.ReadAsStringAsync(cancellationToken)));
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken), Encoding.UTF8);
        var text = new StringBuilder();
        var done = false;
        while (await reader.ReadLineAsync(cancellationToken) is { } line)
        {
            if (line == "data: [DONE]")
            {
                done = true;
            }
            else if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                var data = JsonNode.Parse(line["data: ".Length..])!;
                Assert.Null(data["error"]);
                text.Append((string?)data["choices"]![0]?["text"]);
            }
        }

        Assert.True(done, "the stream ended without [DONE]");
        return text.ToString();
    }
}
