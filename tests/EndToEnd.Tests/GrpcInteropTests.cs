using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>Running engines driven by @grpc/grpc-js with nothing but the published .proto.</summary>
public sealed class GrpcInteropTests(GrpcInteropTests.Engines engines) : IClassFixture<GrpcInteropTests.Engines>
{
    private const int PromptTokens = 75;
    private const int GeneratedTokens = 24;

    /// <summary>One engine that listens on TCP and moves KV over TCP alone, one on a unix socket.</summary>
    public sealed class Engines : IAsyncLifetime
    {
        public string Folder { get; } = Directory.CreateTempSubdirectory("scriptedserve-grpc-").FullName;

        public EngineProcess OnTcp { get; private set; } = null!;

        public EngineProcess OnUnix { get; private set; } = null!;

        public async Task InitializeAsync()
        {
            await File.WriteAllTextAsync(Path.Combine(Folder, "secret"), "a secret for these tests alone");
            OnTcp = await StartAsync("http://127.0.0.1:0", "--kv-transport", "tcp");
            OnUnix = await StartAsync("unix:" + Path.Combine(Folder, "engine"));
        }

        public Task<EngineProcess> StartAsync(string listen, params string[] arguments) =>
            EngineProcess.StartAsync(listen, ["--kv-memory", "64MiB", "--cluster-secret-file", Path.Combine(Folder, "secret"), .. arguments]);

        public async Task DisposeAsync()
        {
            await OnTcp.DisposeAsync();
            await OnUnix.DisposeAsync();
            Directory.Delete(Folder, recursive: true);
        }
    }

    [RequiresFact(Need.Node)]
    public async Task A_grpc_js_client_gets_the_same_tokens_from_every_pattern_and_nothing_stays_held()
    {
        var seen = await DriveAsync("engine-drive.mjs", "patterns", engines.OnTcp.Address, engines.OnUnix.Address);

        Assert.All(seen["status"]!.AsArray(), status => Assert.Equal("ENGINE_STATE_SERVING", (string)status!["state"]!));
        Assert.Equal(seen["status"]![0]!["layout"]!.ToJsonString(), seen["status"]![1]!["layout"]!.ToJsonString());

        Assert.Equal(20, seen["across"]!.AsArray().Count);
        Assert.All(seen["across"]!.AsArray(), pattern =>
        {
            var end = (string)pattern!["name"]! switch
            {
                "balanced" => 45,
                "whole prompt" => PromptTokens,
                "negative windows" => PromptTokens - 20,
                _ => PromptTokens - 1,
            };
            Assert.Equal((end, 0, end), ((int)pattern["end"]!, (int)pattern["matched"]!, (int)pattern["sent"]!));
            Assert.Equal((string)pattern["name"]! == "in two parts" ? 21 : end, (int)pattern["computed"]!);
            Assert.All(((string)pattern["transports"]!).Split(','), transport => Assert.Equal("tcp", transport));

            // The last token is always computed: its logits are what the first generated one is chosen by.
            Assert.Equal(Math.Min(end, PromptTokens - 1), (int)pattern["cached"]!);
            AssertSameTokens(pattern["outputs"]!);
        });

        var migration = seen["migration"]!;
        Assert.Equal((53, 53), ((int)migration["first"]!["sent_tokens"]!, (int)migration["first"]!["computed_tokens"]!));
        Assert.Equal("OK", (string)migration["released"]!);
        Assert.Equal("[53,53]", migration["again"]!.ToJsonString());
        Assert.All(migration["nothing"]!.AsArray(), reply =>
            Assert.Equal(("OK", 0, 0, "none"), ((string)reply!["status"]!, (int)reply["sent_tokens"]!, (int)reply["computed_tokens"]!, (string)reply["transport"]!)));
        Assert.Equal("INVALID_ARGUMENT", (string)migration["beyondTheAddress"]!["status"]!);
        var copy = migration["copy"]!;
        Assert.Equal((52, 52, 0), ((int)copy["sent_tokens"]!, (int)copy["cached_tokens"]!, (int)copy["computed_tokens"]!));

        Assert.Equal("CANCELLED", (string)seen["cancelled"]!["status"]!);
        AssertIdle(seen["idleAfterCancel"]!);
        Assert.Equal(("OK", "FINISH_REASON_ABORT"), ((string)seen["aborted"]!["status"]!, (string)seen["aborted"]!["finish_reason"]!));
        Assert.Equal(3, seen["ended"]!.AsArray().Count);
        Assert.All(seen["ended"]!.AsArray(), ended =>
        {
            Assert.Equal("[1,3]", ended!["held"]!.ToJsonString());
            Assert.True((bool)ended["idle"]!, ended.ToJsonString());
            Assert.Equal(("NOT_FOUND", "FAILED_PRECONDITION"), ((string)ended["use"]!, (string)ended["send"]!));
        });

        // 200 tokens of prompt and 63 generated ones were computed: 16 whole pages.
        Assert.Equal("[\"ENGINE_STATE_SERVING\"]", seen["watched"]!["states"]!.ToJsonString());
        Assert.True((int)seen["watched"]!["storedAtFirst"]! > 0);
        Assert.Equal(16, (int)seen["watched"]!["storedLater"]!);
        Assert.All(seen["idle"]!.AsArray(), idle => AssertIdle(idle!));
    }

    [RequiresTheory(Need.Node)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Bad_calls_get_their_status_and_leave_the_engine_serving_with_nothing_held(bool onTcp)
    {
        var (target, peer) = onTcp ? (engines.OnTcp, engines.OnUnix) : (engines.OnUnix, engines.OnTcp);
        var seen = await DriveAsync("engine-hostile.mjs", target.Address, peer.Address);

        var results = seen["results"]!.AsArray();
        Assert.True(results.Count > 300, $"{results.Count} calls");
        var wrong = results.Where(result => (string)result!["status"]! != (string)result["expected"]!
            || ((string)result["status"]! != "OK" && ((string)result["details"]!).Length == 0)
            || !(bool)result["idle"]!);
        Assert.Empty(wrong.Select(result => result!.ToJsonString()));

        var early = seen["early"]!;
        Assert.All(early["refused"]!.AsArray(), refused =>
        {
            Assert.Equal("FAILED_PRECONDITION", (string)refused!["status"]!);
            Assert.NotEqual("", (string)refused["details"]!);
        });
        Assert.Equal((1, "OK"), ((int)early["held"]!, (string)early["released"]!));

        Assert.Equal((string)seen["before"]!["epoch"]!, (string)seen["after"]!["epoch"]!);
        Assert.Equal((string)seen["before"]!["answers"]![1]!, (string)seen["after"]!["answers"]![0]!);
        Assert.All(seen["idle"]!.AsArray(), idle => AssertIdle(idle!));
    }

    [RequiresFact(Need.Node)]
    public async Task An_address_of_an_earlier_start_is_refused_and_a_draining_engine_keeps_its_promises_only()
    {
        var (listen, kvListen) = ("unix:" + Path.Combine(engines.Folder, "restarted"), $"127.0.0.1:{FreePort()}");
        string stale;
        await using (var first = await engines.StartAsync(listen, "--kv-listen", kvListen, "--engine-id", "restarted"))
        {
            stale = (string)(await DriveAsync("engine-drive.mjs", "reserve", first.Address))["address"]!;
        }

        await using var second = await engines.StartAsync(listen, "--kv-listen", kvListen, "--engine-id", "restarted");
        var seen = await DriveAsync("engine-drive.mjs", "drain", engines.OnUnix.Address, second.Address, stale);

        Assert.Equal("FAILED_PRECONDITION", (string)seen["stale"]!["status"]!);
        Assert.NotEqual("", (string)seen["stale"]!["details"]!);
        Assert.Equal("[true,true]", seen["idleAfterStale"]!.ToJsonString());

        Assert.All(seen["refused"]!.AsArray(), refused => Assert.Equal("UNAVAILABLE", (string)refused!["status"]!));
        Assert.Equal(("shm", PromptTokens - 1), ((string)seen["promised"]!["transport"]!, (int)seen["promised"]!["sent"]!));
        AssertSameTokens(seen["promised"]!["outputs"]!);
        Assert.False((bool)seen["drainedWhileRunning"]!);
        Assert.Equal("FINISH_REASON_ABORT", (string)seen["running"]!);
        Assert.Equal("OK", (string)seen["drained"]!);
        Assert.Equal("ENGINE_STATE_DRAINING", (string)seen["idle"]![1]!["state"]!);
        Assert.All(seen["idle"]!.AsArray(), idle => AssertIdle(idle!));
    }

    private static async Task<JsonNode> DriveAsync(string script, params string[] arguments) => JsonNode.Parse(await NodePeers.RunAsync(script, arguments))!;

    /// <summary>Every output is the same, in tokens and in log-probabilities, and as long as was asked for.</summary>
    private static void AssertSameTokens(JsonNode outputs)
    {
        var first = (string)outputs[0]!;
        Assert.All(outputs.AsArray(), output => Assert.Equal(first, (string)output!));
        Assert.Equal(GeneratedTokens, JsonNode.Parse(first)!["token_ids"]!.AsArray().Count);
        Assert.Equal(GeneratedTokens, JsonNode.Parse(first)!["logprobs"]!.AsArray().Count);
    }

    private static void AssertIdle(JsonNode engine)
    {
        var load = engine["load"]!;
        Assert.Equal((0, 0, (int)load["kv_pages_total"]!), ((int)load["reservations"]!, (int)load["kv_pages_held"]!, (int)load["kv_pages_free"]!));
    }

    private static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }
}
