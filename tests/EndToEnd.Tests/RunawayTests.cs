using System.Net;
using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>Scripts that run away, one after another, while good traffic flows through another router of the same host.</summary>
public sealed class RunawayTests
{
    private const string Handler = "async IAsyncEnumerable<Chunk> HandleRequest(Request request) { await Run(); yield break; }\n";

    /// <summary>What runs away on the second line, when a request comes.</summary>
    public static readonly IReadOnlyList<string> Requests =
    [
        "int n; async Task Run() { while (true) n++; }",
        "int Deep(int x) => Deep(x + 1) + 1; async Task Run() => Deep(1);",
        "async Task Run() { await Task.Yield(); await Run(); await Run(); }",
        "async Task Run() { var all = new List<byte[]>(); while (true) all.Add(new byte[1 << 20]); }",
        "async Task Run() { var s = \"x\"; while (true) s += s; }",
        "async Task Run() => GC.KeepAlive(new byte[int.MaxValue - 100]);",
        "async Task Run() { while (true) try { throw new Exception(); } catch { } }",
        "async Task Run() { for (;;) { _ = Storm(); await Task.Yield(); } } async Task Storm() { await Task.Yield(); for (;;) ; }",
        "record Ring { public Ring Next { get; set; } } async Task Run() { var r = new Ring(); r.Next = r; r.GetHashCode(); }",
    ];

    /// <summary>What does not get as far as a request, and why.</summary>
    public static readonly IReadOnlyList<(string Text, string Reason)> Loads =
    [
        ("void OnLoad() { while (true) ; } async Task Run() { }", "script-budget-ms"),
        ("async Task OnLoad() => await new TaskCompletionSource().Task; async Task Run() { }", "script-load-ms"),
        ("static class Late { public static int Value = Spin(); static int Spin() { for (;;) ; } } int x = Late.Value; async Task Run() { }", "script-budget-ms"),
        ("async Task Run() => Task.Delay(TimeSpan.FromHours(1), Time).Wait();", "SS0107"),
        ("async Task Run() => Thread.Sleep(100000);", "SS0107"),
        ("async Task Run() => Environment.Exit(1);", "SS0105"),
    ];

    [Fact]
    public async Task Runaway_scripts_harm_no_request_of_another_router()
    {
        await using var server = await HostProcess.StartAsync("--script-load-ms", "500", "--script-allow", "M:System.GC.KeepAlive");
        using var enough = new CancellationTokenSource();
        var expected = (await GoodAsync(server))["choices"]!.ToJsonString();
        var good = Enumerable.Range(0, 3).Select(_ => Task.Run(async () =>
        {
            var served = 0;
            for (; !enough.IsCancellationRequested; served++)
            {
                Assert.Equal(expected, (await GoodAsync(server))["choices"]!.ToJsonString());
            }

            return served;
        })).ToList();

        for (var i = 0; i < Requests.Count; i++)
        {
            var (status, text) = await PutAsync(server, $"away{i}", Requests[i]);
            Assert.True(status == HttpStatusCode.Created, text);
            for (var again = 0; again < 2; again++)
            {
                var (failed, said) = await AskAsync(server, $"away{i}");
                Assert.True((int)failed >= 500 && said.Contains($"away{i}.csx(2)", StringComparison.Ordinal), $"{Requests[i]}: {(int)failed} {said}");
            }
        }

        foreach (var (text, reason) in Loads)
        {
            var (status, said) = await PutAsync(server, "never", text);
            Assert.True(status == HttpStatusCode.UnprocessableEntity && said.Contains(reason, StringComparison.Ordinal), $"{text}: {(int)status} {said}");
        }

        await enough.CancelAsync();
        Assert.All(await Task.WhenAll(good), served => Assert.True(served > 0));
        Assert.False(server.HasExited);
        await server.NothingIsHeldAsync();
    }

    private static Task<JsonObject> GoodAsync(HostProcess server) =>
        server.PostAsync("/v1/completions", new JsonObject { ["prompt"] = "Once upon a time", ["max_tokens"] = 8, ["temperature"] = 0 }, "data_parallel");

    private static async Task<(HttpStatusCode Status, string Text)> PutAsync(HostProcess server, string name, string text)
    {
        using var body = new StringContent(Handler + text);
        using var response = await server.Client.PutAsync($"/admin/routers/{name}?activate=true", body);
        return (response.StatusCode, await response.Content.ReadAsStringAsync());
    }

    private static async Task<(HttpStatusCode Status, string Text)> AskAsync(HostProcess server, string router)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = new StringContent("""{"prompt":"a","max_tokens":1}""", System.Text.Encoding.UTF8, "application/json") };
        request.Headers.Add("X-Router", router);
        using var response = await server.Client.SendAsync(request);
        return (response.StatusCode, await response.Content.ReadAsStringAsync());
    }
}
