using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>What hosts keep of their routers: beyond their own death, and between them.</summary>
public sealed class KeptRoutersTests
{
    /// <summary>Routers are pushed and switched without one: an engine that nobody answers for.</summary>
    private static readonly string[] NoEngine = ["--engines", "0", "--engine", "http://127.0.0.1:9"];

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task The_last_acknowledged_activation_is_in_force_after_the_host_was_killed_in_the_middle_of_others()
    {
        var folder = HostProcess.NewFolder();
        var random = new Random(4711);
        var pushed = 0;
        try
        {
            int acknowledged = 0, asked = 0;
            for (var round = 0; round < 4; round++)
            {
                await using var host = await HostProcess.StartInAsync(folder, ownsFolder: false, NoEngine);
                await LoadedAsync(host, round == 0 ? "data_parallel" : "r");
                if (round > 0)
                {
                    // The one that was being asked for may have made it, unheard.
                    var router = await RouterAsync(host, "r");
                    Assert.Contains((int)router!["active_version"]!, (int[])[acknowledged, asked]);
                    Assert.Equal(pushed, router["versions"]!.AsArray().Count);
                    acknowledged = (int)router["active_version"]!;
                }

                for (var i = 0; i < 2; i++)
                {
                    Assert.Equal(++pushed, await PushAsync(host, "r", $"// {pushed}"));
                    acknowledged = asked = pushed;
                }

                var kills = random.Next(1, 40);
                using var killed = new CancellationTokenSource();
                Task? killing = null;
                for (var i = 0; !killed.IsCancellationRequested; i++)
                {
                    asked = random.Next(Math.Max(1, pushed - 1), pushed + 1);
                    var activation = host.Client.PostAsync($"/admin/routers/r/activate?version={asked}", null, CancellationToken.None);
                    if (i == kills)
                    {
                        killing = KillAfterAsync(host, random.Next(0, 3000), killed);
                    }

                    try
                    {
                        using var answer = await activation;
                        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
                        acknowledged = asked;
                    }
                    catch (HttpRequestException) when (killing is not null)
                    {
                        break;
                    }
                }

                await killing!;
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [RequiresFact(Need.Postgres)]
    public async Task Two_hosts_on_one_database_serve_the_same_routers_also_while_it_is_down()
    {
        await using var postgres = await PostgresServer.StartAsync();
        await using var a = await HostProcess.StartAsync("--engines", "1", "--store", postgres.Url);
        await using var b = await HostProcess.StartAsync("--engines", "1", "--store", postgres.Url);

        Assert.Equal(1, await PushAsync(a, "shared", "// one"));
        await ActiveAsync(b, "shared", 1);
        Assert.Equal("shared@1", (string)(await AskAsync(b))["_router"]!);
        Assert.Equal(2, await PushAsync(b, "shared", "// two"));
        await ActiveAsync(a, "shared", 2);

        await postgres.StopAsync();
        foreach (var host in (HostProcess[])[a, b])
        {
            Assert.Equal("shared@2", (string)(await AskAsync(host))["_router"]!);
            using var refused = await host.Client.PostAsync("/admin/routers/shared/rollback", null);
            Assert.Equal(503, (int)refused.StatusCode);
            Assert.Equal("store_unavailable", (string)JsonNode.Parse(await refused.Content.ReadAsStringAsync())!["error"]!["code"]!);
        }

        await postgres.ResumeAsync();
        await Eventually.TrueAsync("a takes changes again", async () => (await a.Client.PostAsync("/admin/routers/shared/rollback", null)).IsSuccessStatusCode, Patience, () => a.Output);
        await ActiveAsync(b, "shared", 1);
        Assert.DoesNotContain("secret-word", a.Output + b.Output, StringComparison.Ordinal);
    }

    private static async Task KillAfterAsync(HostProcess host, int microseconds, CancellationTokenSource killed)
    {
        var start = TimeProvider.System.GetTimestamp();
        while (TimeProvider.System.GetElapsedTime(start).TotalMicroseconds < microseconds)
        {
            await Task.Yield();
        }

        await host.KillAsync();
        await killed.CancelAsync();
    }

    private static Task<JsonObject> AskAsync(HostProcess host) => host.PostAsync("/v1/completions", new JsonObject { ["prompt"] = "The", ["max_tokens"] = 1 }, "shared");

    private static async Task<int> PushAsync(HostProcess host, string name, string comment)
    {
        var text = $"IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request); {comment}";
        using var put = await host.Client.PutAsync($"/admin/routers/{name}?activate=true", new StringContent(text, Encoding.UTF8));
        var reply = await put.Content.ReadAsStringAsync();
        Assert.True(put.IsSuccessStatusCode, reply);
        return (int)JsonNode.Parse(reply)!["version"]!["version"]!;
    }

    private static async Task<JsonNode?> RouterAsync(HostProcess host, string name) =>
        (await host.GetJsonAsync("/admin/routers"))["routers"]!.AsArray().FirstOrDefault(router => (string)router!["name"]! == name);

    private static Task LoadedAsync(HostProcess host, string name) =>
        Eventually.TrueAsync($"{name} is loaded", async () => (await RouterAsync(host, name))?["active_version"] is not null, Patience, () => host.Output);

    private static Task ActiveAsync(HostProcess host, string name, int version) =>
        Eventually.TrueAsync($"{name}@{version} is active", async () => (int?)(await RouterAsync(host, name))?["active_version"] == version, Patience, () => host.Output);
}
