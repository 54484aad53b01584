using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Server;
using ScriptedServe.Tests.Support;
using static ScriptedServe.Contracts.Tests.Wire.WireTesting;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>The wire against @grpc/grpc-js, an implementation that is not ours.</summary>
public class GrpcJsTests
{
    [RequiresTheory(Need.Node)]
    [InlineData("tcp")]
    [InlineData("unix")]
    public async Task A_grpc_js_client_sees_every_outcome_of_our_server(string transport)
    {
        var engine = new ScriptedEngine();
        await using var server = await ServeAsync(engine, Listen(transport), new RpcServerOptions { BearerToken = "sesame" });

        var seen = JsonNode.Parse(await NodePeers.RunAsync("grpc-client.mjs", server.Address.ToString(), "sesame"))!;

        Assert.Equal("r-1 3 2", $"{seen["unary"]!["reply"]!["reservation_id"]} {seen["unary"]!["reply"]!["matched_tokens"]} {seen["unary"]!["reply"]!["end"]}");
        Assert.Equal(Enumerable.Range(0, 256), seen["unary"]!["reply"]!["kv_address"]!["data"]!.Deserialize<int[]>()!);
        Assert.Equal(1_000_000, (int)seen["largeUnary"]!["reply"]!["matched_tokens"]!);
        Assert.Equal("18446744073709551615", (string)seen["status"]!["reply"]!["epoch"]!);
        Assert.Equal([0, 1, 2], Tokens(seen["stream"]!));
        Assert.Equal("FINISH_REASON_LENGTH", (string)seen["stream"]!["chunks"]![2]!["finish_reason"]!);
        Assert.Equal("10 preempted", Outcome(seen["streamThenError"]!));
        Assert.Equal([0, 1], Tokens(seen["streamThenError"]!));
        Assert.Equal(Enumerable.Range(1, 16).Select(code => $"{code} grüße 100%\n✓"), seen["failures"]!.AsArray().Select(f => Outcome(f!)));
        Assert.Equal("1500", (string)seen["failures"]![7]!["retryAfterMs"]!);
        Assert.Equal(13, (int)seen["unexpected"]!["code"]!);
        Assert.Equal(1, (int)seen["cancelled"]!["code"]!);
        Assert.Equal(4, (int)seen["deadline"]!["code"]!);
        Assert.Equal(12, (int)seen["unknownMethod"]!["code"]!);
        Assert.Equal(12, (int)seen["unknownService"]!["code"]!);
        Assert.Equal(12, (int)seen["compressed"]!["code"]!);
        Assert.Equal(Enumerable.Range(0, 200).Select(i => (i % 7) + 1), seen["concurrent"]!.Deserialize<int[]>()!);

        // Both calls that were given up, by cancel and by deadline, ended in the engine too.
        var given = 0;
        while (given < 2)
        {
            given += await engine.NextEventAsync() == "cancelled" ? 1 : 0;
        }
    }

    [RequiresTheory(Need.Node)]
    [InlineData("tcp")]
    [InlineData("unix")]
    public async Task Our_client_sees_every_outcome_of_a_grpc_js_server(string transport)
    {
        var listen = Listen(transport);
        await using var server = await NodePeers.StartAsync("grpc-server.mjs", listen.ToString());
        var port = int.Parse(await server.ReadLineAsync(), CultureInfo.InvariantCulture);
        using var client = Call(transport == "unix" ? listen : EngineAddress.Tcp("127.0.0.1", port), new() { Deadlines = new() { Abort = TimeSpan.FromMilliseconds(300) } });
        var none = CancellationToken.None;

        var prepared = await client.PrepRecvAsync(new() { RequestId = "echo", TokenIds = { Enumerable.Repeat(9, 500_000) }, End = -1 }, none).Within();
        Assert.Equal((500_000, 499_999), (prepared.MatchedTokens, prepared.End));
        Assert.Equal(Enumerable.Range(0, 256).Select(i => (byte)i), prepared.KvAddress);
        Assert.Equal(12345678901, (await client.RemoteSendAsync(new() { RequestId = "echo" }, none).Within()).Timings.TransferUs);
        Assert.Equal(ulong.MaxValue, (await client.GetStatusAsync(new(), none).Within()).Epoch);
        Assert.Equal(12, (int)(await FailsAsync(DrainAsync(client.WatchStatusAsync(new(), none)))).Status);

        var chunks = await ToListAsync(client.StartGenerateAsync(new() { RequestId = "count 500" }, none)).Within();
        Assert.Equal(Enumerable.Range(0, 500), chunks.SelectMany(c => c.TokenIds));
        Assert.Equal(FinishReason.Length, chunks[^1].FinishReason);

        for (var code = 1; code <= 16; code++)
        {
            var failure = await FailsAsync(client.ReleaseAsync(new() { ReservationId = $"fail {code} grüße 100%\n✓" }, none));
            Assert.Equal(((RpcStatus)code, "grüße 100%\n✓", TimeSpan.FromSeconds(1.5)), (failure.Status, failure.Message, failure.RetryAfter));
        }

        var late = await FailsAsync(ToListAsync(client.StartGenerateAsync(new() { RequestId = "count 2 fail 8 full" }, none)));
        Assert.Equal((RpcStatus.ResourceExhausted, TimeSpan.FromSeconds(1.5)), (late.Status, late.RetryAfter!.Value));

        Assert.Equal(RpcStatus.DeadlineExceeded, (await FailsAsync(client.AbortAsync(new() { RequestId = "hang" }, none))).Status);
        Assert.Equal("cancelled", await server.ReadLineAsync());

        await foreach (var _ in client.StartGenerateAsync(new() { RequestId = "hang 1" }, none))
        {
            break;
        }

        Assert.Equal("cancelled", await server.ReadLineAsync());
    }

    private static string Outcome(JsonNode call) => $"{call["code"]} {call["details"]}";

    private static IEnumerable<int> Tokens(JsonNode call) => call["chunks"]!.AsArray().SelectMany(chunk => chunk!["token_ids"]!.Deserialize<int[]>()!);

    private static async Task DrainAsync(IAsyncEnumerable<EngineStatus> statuses)
    {
        await foreach (var _ in statuses)
        {
        }
    }
}
