using System.Diagnostics;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Tests.Compute;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Processes;

/// <summary>Real engines with the built-in model, real processes, the real wire and the real transports.</summary>
public sealed class EngineProcessTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("scriptedserve-test-");

    private string SecretFile => Path.Combine(_folder.FullName, "secret");

    [Theory]
    [InlineData("storyteller", "auto", "shm", "f32")]
    [InlineData("storyteller", "tcp", "tcp", "bf16")]
    [InlineData("synthetic:vocab=600,layers=3,kv-heads=2,step-us=300,token-us=1", "auto", "shm", "f16")]
    public async Task Generations_split_over_two_engines_equal_local_ones(string model, string option, string transport, string kvType)
    {
        var secret = ClusterSecret.ReadOrCreate(SecretFile);
        using var left = await EngineUnderTest.StartAsync(SecretFile, "--listen", $"unix:{_folder}/left.sock", "--label", "prefill", "--id", "left", "--model", model, "--kv-dtype", kvType);
        using var right = await EngineUnderTest.StartAsync(SecretFile, "--listen", "http://*:0", "--kv-advertise", "127.0.0.1", "--kv-transport", option, "--max-batch-tokens", "64", "--model", model, "--kv-dtype", kvType);

        // Other machines could reach the right one: it wants the token.
        var stranger = await Assert.ThrowsAsync<RpcException>(() => right.Client.GetStatusAsync(new GetStatusRequest(), default));
        Assert.Equal(RpcStatus.Unauthenticated, stranger.Status);
        using var rightClient = EngineUnderTest.Connect(right.Client.Address, secret);

        var status = await left.Client.GetStatusAsync(new GetStatusRequest(), default);
        Assert.Equal(("left", "prefill"), (status.EngineId, Assert.Single(status.Labels)));
        Assert.Equal(status.Layout.Fingerprint, (await rightClient.GetStatusAsync(new GetStatusRequest(), default)).Layout.Fingerprint);

        var random = new Random(5);
        foreach (var (prefill, decode) in new[] { (left.Client, rightClient), (rightClient, left.Client) })
        {
            foreach (var (length, share) in new[] { (150, 1.0), (41, 0.6), (2, 1.0) })
            {
                int[] tokens = [.. Enumerable.Range(0, length).Select(_ => random.Next(3, status.Model.VocabSize))];
                var sampling = Calls.Sampling(20, temperature: 1, seed: 11);
                sampling.Logprobs = 3;
                var end = (int)((length - 1) * share);
                var kv = await decode.PrepRecvAsync(Calls.Prep("split", tokens, end), default);
                var sent = await prefill.RemoteSendAsync(Calls.Send("split", tokens, kv), default);
                Assert.Equal((end - kv.MatchedTokens, transport), (sent.SentTokens, sent.Transport));
                Assert.True(sent.BytesSent > 0);
                var split = await decode.ReadAsync(Calls.Generate("split", tokens, sampling, kv.ReservationId, begin: end));
                var local = await prefill.ReadAsync(Calls.Generate("local", tokens, sampling));
                Assert.Equal(20, split.Tokens.Count);
                Assert.Equal(local.Tokens, split.Tokens);
                Assert.Equal(local.Logprobs, split.Logprobs);
                Assert.Equal(end, split.Usage!.CachedTokens);
            }
        }

        foreach (var client in new[] { left.Client, rightClient })
        {
            var load = (await client.GetStatusAsync(new GetStatusRequest(), default)).Load;
            Assert.Equal((0, 0, load.KvPagesTotal), (load.KvPagesHeld, load.Reservations, load.KvPagesFree));
        }

        // A sender under way does not keep an engine from ending in order.
        _ = await rightClient.PrepRecvAsync(Calls.Prep("open", [5, 6, 7]), default);
        Assert.Equal(0, await right.TerminateAsync());
        Assert.Equal(0, await left.TerminateAsync());
        Assert.Empty(Directory.GetFiles(_folder.FullName, "*.sock*"));
    }

    [Fact]
    public async Task Engines_of_unequal_numbers_of_ranks_take_over_each_others_work()
    {
        _ = ClusterSecret.ReadOrCreate(SecretFile);
        using var model = RandomConfigs.Folder("Qwen3MoeForCausalLM", "BF16", new Random(3), ranks: 4, kvHeads: 8);
        Task<EngineUnderTest> StartAsync(int ranks, params string[] more) => EngineUnderTest.StartAsync(
            SecretFile, ["--model", model.Path, "--weights", "int8", "--weight-cache", "off", "--tensor-parallel", $"{ranks}", "--threads", $"{ranks}", "--listen", $"unix:{_folder}/{ranks}.sock", .. more]);
        using var one = await StartAsync(1);
        using var two = await StartAsync(2);
        using var four = await StartAsync(4, "--kv-transport", "tcp");
        var vocab = (await one.Client.GetStatusAsync(new GetStatusRequest(), default)).Model.VocabSize;
        Assert.Equal(4, (await four.Client.GetStatusAsync(new GetStatusRequest(), default)).Model.TensorParallel);

        var random = new Random(5);
        var sampling = Calls.Sampling(8, temperature: 1, seed: 11);
        sampling.Logprobs = 3;
        foreach (var (prefill, decode, transport) in new[] { (one, two, "shm"), (two, one, "shm"), (two, four, "tcp"), (four, two, "tcp"), (four, one, "tcp") })
        {
            int[] tokens = [.. Enumerable.Range(0, 41).Select(_ => random.Next(vocab))];
            var kv = await decode.Client.PrepRecvAsync(Calls.Prep("split", tokens, 37), default);
            var sent = await prefill.Client.RemoteSendAsync(Calls.Send("split", tokens, kv), default);
            Assert.Equal((37, transport), (sent.SentTokens, sent.Transport));
            var split = await decode.Client.ReadAsync(Calls.Generate("split", tokens, sampling, kv.ReservationId, begin: 37));
            var local = await prefill.Client.ReadAsync(Calls.Generate("local", tokens, sampling));
            Assert.Equal(8, split.Tokens.Count);
            Assert.Equal(local.Tokens, split.Tokens);
            Assert.Equal(local.Logprobs, split.Logprobs);

            // A whole context moves, and is cache where it arrives.
            int[] context = [.. tokens, .. local.Tokens];
            var moved = await prefill.Client.PrepRecvAsync(Calls.Prep("move", context, context.Length - 1), default);
            _ = await decode.Client.RemoteSendAsync(Calls.Send("move", context, moved), default);
            _ = await prefill.Client.ReleaseAsync(new ReleaseRequest { ReservationId = moved.ReservationId }, default);
        }

        foreach (var engine in new[] { one, two, four })
        {
            var endless = Calls.Generate("gone", [1, 2, 3], Calls.Sampling(50));
            _ = await engine.Client.ReadAsync(endless, stopAfter: 2);
            _ = await engine.Client.PrepRecvAsync(Calls.Prep("gone", [4, 5, 6]), default);
            _ = await engine.Client.AbortAsync(new AbortRequest { RequestId = "gone" }, default);
            var load = (await engine.Client.GetStatusAsync(new GetStatusRequest(), default)).Load;
            Assert.Equal((0, 0, 0, load.KvPagesTotal), (load.Running, load.KvPagesHeld, load.Reservations, load.KvPagesFree));
            Assert.Equal(0, await engine.TerminateAsync());
        }
    }

    [Fact]
    public async Task A_model_that_cannot_be_divided_is_refused_at_the_start()
    {
        var (exitCode, errors) = await EngineUnderTest.RunAsync("--model", "storyteller", "--tensor-parallel", "4", "--threads", "4");
        Assert.Equal(1, exitCode);
        Assert.Contains("cannot be divided among 4 ranks (--tensor-parallel): its 2 key/value heads", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task KV_of_16_bits_has_twice_the_pages_and_is_not_exchanged_with_that_of_32()
    {
        _ = ClusterSecret.ReadOrCreate(SecretFile);
        using var narrow = await EngineUnderTest.StartAsync(SecretFile, "--model", "synthetic", "--kv-dtype", "f16", "--listen", $"unix:{_folder}/narrow.sock");
        using var wide = await EngineUnderTest.StartAsync(SecretFile, "--model", "synthetic", "--listen", $"unix:{_folder}/wide.sock");
        var (narrowStatus, wideStatus) = (await narrow.Client.GetStatusAsync(new GetStatusRequest(), default), await wide.Client.GetStatusAsync(new GetStatusRequest(), default));
        Assert.Equal(("f16", "f32"), (narrowStatus.Layout.DataType, wideStatus.Layout.DataType));
        Assert.Equal(2 * narrowStatus.Layout.PageBytes, wideStatus.Layout.PageBytes);
        Assert.Equal(2 * wideStatus.Load.KvPagesTotal, narrowStatus.Load.KvPagesTotal);

        var kv = await wide.Client.PrepRecvAsync(Calls.Prep("split", [5, 6, 7]), default);
        var refused = await Assert.ThrowsAsync<RpcException>(() => narrow.Client.RemoteSendAsync(Calls.Send("split", [5, 6, 7], kv), default));
        Assert.Equal(RpcStatus.FailedPrecondition, refused.Status);
        Assert.Contains("--kv-dtype", refused.Message, StringComparison.Ordinal);
        Assert.Equal(0, await narrow.TerminateAsync());
        Assert.Equal(0, await wide.TerminateAsync());
    }

    [Fact]
    public async Task Engines_of_a_machine_have_the_same_weights_in_memory_once()
    {
        _ = ClusterSecret.ReadOrCreate(SecretFile);
        string cache = Path.Combine(_folder.FullName, "cache");
        string[] arguments = ["--model", "storyteller", "--weights", "int8", "--weight-cache", cache];
        var starts = new[] { "left", "right" }.Select(name => EngineUnderTest.StartAsync(SecretFile, [.. arguments, "--listen", $"unix:{_folder}/{name}.sock"])).ToArray();
        using var left = await starts[0];
        using var right = await starts[1];
        using var alone = await EngineUnderTest.StartAsync(SecretFile, "--model", "storyteller", "--weights", "int8", "--listen", $"unix:{_folder}/alone.sock");

        // Device, inode and path of the mapped file.
        static string Mapped(EngineUnderTest engine) => string.Join(
            "|",
            File.ReadLines($"/proc/{engine.Process.Id}/maps").Where(line => line.EndsWith(".weights", StringComparison.Ordinal)).Select(line => string.Join(' ', line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3..])));
        Assert.Equal(Assert.Single(Directory.GetFiles(cache, "*.weights")), Mapped(left).Split(' ')[^1]);
        Assert.Equal(Mapped(left), Mapped(right));
        Assert.Equal("", Mapped(alone));

        var generated = new List<Generated>();
        foreach (var engine in new[] { left, right, alone })
        {
            generated.Add(await engine.Client.ReadAsync(Calls.Generate("same", [5, 6, 7, 8], Calls.Sampling(12, temperature: 1, seed: 3))));
        }

        Assert.Equal(generated[0].Tokens, generated[1].Tokens);
        Assert.Equal(generated[0].Tokens, generated[2].Tokens);
    }

    [Fact]
    public async Task An_engine_ends_in_order_when_its_parent_does()
    {
        _ = ClusterSecret.ReadOrCreate(SecretFile);
        using var parent = Process.Start("sleep", "600");
        using var engine = await EngineUnderTest.StartUnderAsync(parent.Id, SecretFile, "--listen", $"unix:{_folder}/child.sock");
        parent.Kill();
        Assert.Equal(0, await engine.WaitForExitAsync());
    }

    [Fact]
    public async Task Wrong_options_are_all_told_and_the_exit_code_is_2()
    {
        var (exitCode, errors) = await EngineUnderTest.RunAsync("--page-tokens", "0", "--device", "abacus", "--frobnicate");
        Assert.Equal(2, exitCode);
        Assert.Contains("--page-tokens '0'", errors, StringComparison.Ordinal);
        Assert.Contains("--device 'abacus'", errors, StringComparison.Ordinal);
        Assert.Contains("--frobnicate", errors, StringComparison.Ordinal);
    }

    public void Dispose() => _folder.Delete(recursive: true);
}
