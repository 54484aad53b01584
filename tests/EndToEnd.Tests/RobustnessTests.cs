using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>Bad input, clients that leave and engines that die: a clear answer, and nothing stays held.</summary>
public sealed class RobustnessTests(RobustnessTests.Host fixture) : IClassFixture<RobustnessTests.Host>
{
    public sealed class Host : IAsyncLifetime
    {
        public HostProcess Process { get; private set; } = null!;

        public async Task InitializeAsync() => Process = await HostProcess.StartAsync();

        public Task DisposeAsync() => Process.DisposeAsync().AsTask();
    }

    private HostProcess Server => fixture.Process;

    public static TheoryData<string, string, string, int, string?> BadRequests => new()
    {
        { "POST", "/v1/completions", """{"prompt":"","max_tokens":1}""", 400, "prompt" },
        { "POST", "/v1/completions", """{"max_tokens":1}""", 400, "prompt" },
        { "POST", "/v1/completions", """{"prompt":"a","max_tokens":-1}""", 400, "max_tokens" },
        { "POST", "/v1/completions", """{"prompt":"a","temperature":"hot"}""", 400, "temperature" },
        { "POST", "/v1/completions", """{"prompt":[1,2,999999],"max_tokens":1}""", 400, "prompt" },
        { "POST", "/v1/completions", """{"prompt":[-1],"max_tokens":1}""", 400, "prompt" },
        { "POST", "/v1/completions", """{"model":"gpt-9","prompt":"a"}""", 404, "model" },
        { "POST", "/v1/completions", """{"prompt":"a","n":0}""", 400, "n" },
        { "POST", "/v1/completions", """{"prompt":"a","top_p":7}""", 400, "top_p" },
        { "POST", "/v1/completions", """{"prompt":"a" """, 400, null },
        { "POST", "/v1/completions", "", 400, null },
        { "POST", "/v1/chat/completions", """{"messages":[]}""", 400, "messages" },
        { "POST", "/v1/chat/completions", """{"messages":[{"role":"wizard","content":"a"}]}""", 400, "messages[0].role" },
        { "GET", "/v1/completions", "", 405, null },
        { "GET", "/v1/nothing", "", 404, null },
        { "GET", "/v1/models/gpt-9", "", 404, "model" },
    };

    [Theory]
    [MemberData(nameof(BadRequests))]
    public async Task Bad_input_gets_an_error_object_that_names_the_parameter(string method, string path, string body, int status, string? parameter)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (method == "POST")
        {
            request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        }

        await AssertErrorAsync(request, status, parameter);
    }

    [Fact]
    public async Task Engines_do_not_inherit_what_the_host_sets_for_its_own_runtime()
    {
        var engine = (await Server.Client.GetFromJsonAsync<JsonObject>("/admin/engines"))!["engines"]![0]!["process_id"]!.GetValue<int>();
        var environment = (await File.ReadAllTextAsync($"/proc/{engine}/environ")).Split('\0');
        Assert.Contains(environment, static variable => variable.StartsWith("PATH=", StringComparison.Ordinal));
        Assert.DoesNotContain(environment, static variable => variable.StartsWith("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS=", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Oversized_and_undecodable_bodies_are_refused()
    {
        var long_ = new string('a', 200_000);
        await AssertErrorAsync(Post("/v1/completions", Encoding.UTF8.GetBytes($$"""{"prompt":"{{long_}}"}""")), 400, "prompt");
        await AssertErrorAsync(Post("/v1/completions", Encoding.UTF8.GetBytes($$"""{"prompt":"{{new string('a', 10 << 20)}}"}""")), 413, null);
        await AssertErrorAsync(Post("/v1/completions", [.. "{\"prompt\":\""u8, 0xff, 0xfe, .. "\"}"u8]), 400, null);
        await Server.NothingIsHeldAsync();
    }

    [Fact]
    public async Task An_unknown_router_is_named()
    {
        using var request = Post("/v1/completions", """{"prompt":"a"}"""u8.ToArray());
        request.Headers.Add("X-Router", "nobody");
        await AssertErrorAsync(request, 404, null, "nobody");
    }

    [Fact]
    public async Task A_client_that_leaves_mid_stream_frees_its_pages()
    {
        foreach (var router in (string[])["data_parallel", "pd_disagg"])
        {
            var before = await GeneratedAsync();
            var clients = Enumerable.Range(0, 8).Select(async i =>
            {
                using var request = Post("/v1/completions", Encoding.UTF8.GetBytes($$"""{"prompt":"Story {{i}}","max_tokens":1900,"ignore_eos":true,"stream":true}"""));
                request.Headers.Add("X-Router", router);
                using var response = await Server.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
                Assert.StartsWith("data: ", await reader.ReadLineAsync(), StringComparison.Ordinal);
            });
            await Task.WhenAll(clients);
            await Server.NothingIsHeldAsync();
            Assert.True(await GeneratedAsync() - before < 8 * 1900, "the engines generated on to the end");
        }
    }

    [Fact]
    public async Task An_engine_that_is_killed_comes_back_and_the_host_serves_on()
    {
        var victim = (await EnginesAsync())[0]!;
        using (var process = System.Diagnostics.Process.GetProcessById((int)victim["process_id"]!))
        {
            process.Kill();
        }

        await Eventually.TrueAsync("a new process serves under the old name", async () =>
            (await EnginesAsync()).Single(engine => (string)engine!["id"]! == (string)victim["id"]!) is { } engine
            && (string)engine["state"]! == "serving" && (int)engine["process_id"]! != (int)victim["process_id"]!, TimeSpan.FromSeconds(60), () => Server.Output);

        foreach (var router in (string[])["data_parallel", "pd_disagg"])
        {
            _ = await Server.PostAsync("/v1/completions", new JsonObject { ["prompt"] = "Once upon a time", ["max_tokens"] = 4 }, router);
        }

        await Server.NothingIsHeldAsync();
    }

    private async Task<JsonArray> EnginesAsync() => (await Server.GetJsonAsync("/admin/engines"))["engines"]!.AsArray();

    private async Task<long> GeneratedAsync() => (await EnginesAsync()).Sum(engine => (long)(engine!["load"]?["tokens_generated"] ?? 0)!);

    private static HttpRequestMessage Post(string path, byte[] body)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new ByteArrayContent(body) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        return request;
    }

    private async Task AssertErrorAsync(HttpRequestMessage request, int status, string? parameter, string? mention = null)
    {
        using var response = await Server.Client.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == (HttpStatusCode)status, $"{(int)response.StatusCode} {text}");
        var error = JsonNode.Parse(text)!["error"]!;
        Assert.False(string.IsNullOrWhiteSpace((string?)error["message"]));
        Assert.NotNull((string?)error["type"]);
        Assert.True(error.AsObject().ContainsKey("param") && error.AsObject().ContainsKey("code"), text);
        if (parameter is not null)
        {
            Assert.Equal(parameter, (string?)error["param"]);
        }

        if (mention is not null)
        {
            Assert.Contains(mention, (string)error["message"]!, StringComparison.Ordinal);
        }

        Assert.False(Server.HasExited);
    }
}
