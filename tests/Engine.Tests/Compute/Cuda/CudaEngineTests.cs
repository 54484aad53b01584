using System.Net;
using System.Text;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Client;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.Engine.Options;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Tests.Fakes;
using ScriptedServe.KvTransport;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>Whole engines on --device cuda:N: the real service, scheduler, caches and transports over the real kernels in the emulation.</summary>
public sealed class CudaEngineTests : IDisposable
{
    private const string Model = "llama31-bf16";

    /// <summary>What the next token must be ahead by, for rounding to 16 bits not to choose another: the largest difference that the emulated kernels have from float64.</summary>
    private const double Margin = 0.32;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("scriptedserve-test-");

    public void Dispose() => _folder.Delete(recursive: true);

    [RequiresFact(Need.CppCompiler)]
    public async Task Engines_on_GPUs_generate_the_models_tokens_whole_split_and_from_the_cache()
    {
        var kernels = await KernelEmulation.Folder.Value;
        // One engine awaits each step; the other gives the next one to a GPU that computes only when it is waited for.
        var (leftGpu, rightGpu) = (new EmulatedGpu(kernels), new EmulatedGpu(kernels, lags: true));
        await using (var left = await StartAsync("left", leftGpu, options => options with { Limits = options.Limits with { OverlapSteps = false } }))
        await using (var right = await StartAsync("right", rightGpu))
        {
            var status = await left.Client.GetStatusAsync(new GetStatusRequest(), default);
            Assert.Equal(("cuda:0", "bf16"), (status.Model.Device, status.Layout.DataType));
            foreach (var golden in GoldenModels.Cases(Model).Cases.Where(golden => golden.Prompt.Length is > 4 and <= 24).Take(3))
            {
                int sure = golden.Top.TakeWhile(top => top[0].LogProbability - top[1].LogProbability > Margin).Count();
                int count = Math.Min(4, sure + 1);
                var local = await left.Client.ReadAsync(Calls.Generate("local", golden.Prompt, Calls.Sampling(count)));
                Assert.Equal(golden.ExpectedIds[..Math.Min(count, sure)], local.Tokens[..Math.Min(count, sure)]);

                var end = golden.Prompt.Length - 1;
                var kv = await right.Client.PrepRecvAsync(Calls.Prep("split", golden.Prompt, end), default);
                var sent = await left.Client.RemoteSendAsync(Calls.Send("split", golden.Prompt, kv), default);
                Assert.Equal((end - kv.MatchedTokens, "ipc"), (sent.SentTokens, sent.Transport));
                Assert.Equal(end, sent.CachedTokens);
                var split = await right.Client.ReadAsync(Calls.Generate("split", golden.Prompt, Calls.Sampling(count), kv.ReservationId, begin: end));
                Assert.Equal(local.Tokens, split.Tokens);
                Assert.Equal(end, split.Usage!.CachedTokens);

                // Drawn, under penalties and with log-probabilities: whole and split the same to the last bit.
                var drawing = Calls.Sampling(3, temperature: 0.9f, seed: 5);
                (drawing.RepetitionPenalty, drawing.FrequencyPenalty, drawing.TopP, drawing.Logprobs) = (1.2f, 0.3f, 0.9f, 2);
                int[] longer = [.. golden.Prompt, 7];
                var drawn = await left.Client.ReadAsync(Calls.Generate("drawn", longer, drawing));
                var place = await right.Client.PrepRecvAsync(Calls.Prep("drawn", longer, golden.Prompt.Length), default);
                _ = await left.Client.RemoteSendAsync(Calls.Send("drawn", longer, place), default);
                var drawnThere = await right.Client.ReadAsync(Calls.Generate("drawn", longer, drawing, place.ReservationId, begin: golden.Prompt.Length));
                Assert.Equal(drawn.Tokens, drawnThere.Tokens);
                Assert.Equal(drawn.Logprobs, drawnThere.Logprobs);
                Assert.All(drawn.Logprobs, logprob => Assert.Equal(2, logprob.TopIds.Count));

                var again = await right.Client.ReadAsync(Calls.Generate("again", golden.Prompt, Calls.Sampling(count)));
                Assert.Equal(split.Tokens, again.Tokens);
                Assert.True(again.Usage!.CachedTokens > 0);
            }

            foreach (var engine in new[] { left, right })
            {
                var load = (await engine.Client.GetStatusAsync(new GetStatusRequest(), default)).Load;
                Assert.Equal((0, 0, load.KvPagesTotal), (load.KvPagesHeld, load.Reservations, load.KvPagesFree));
            }
        }

        Assert.Equal((0, 0), (leftGpu.Live, rightGpu.Live));
    }

    [RequiresFact(Need.CppCompiler)]
    public async Task KV_of_a_GPU_and_of_the_CPU_do_not_mix()
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        await using var cuda = await StartAsync("cuda", gpu);
        await using var cpu = await StartAsync("cpu", null, options => options with { Device = "cpu", KvDataType = KvDataType.BFloat16 });
        var kv = await cpu.Client.PrepRecvAsync(Calls.Prep("split", [5, 6, 7]), default);
        var refused = await Assert.ThrowsAsync<RpcException>(() => cuda.Client.RemoteSendAsync(Calls.Send("split", [5, 6, 7], kv), default));
        Assert.Equal(RpcStatus.FailedPrecondition, refused.Status);
    }

    [Fact]
    public async Task A_machine_without_CUDA_says_what_is_missing_and_where_it_was_looked_for()
    {
        var (code, errors) = await FailAsync((options, kernels) => CudaGpu.Open(options.CudaOrdinal!.Value, options.CudaLibraries, kernels, _ => null), options => options with { Device = "cuda:99" });
        Assert.Equal(1, code);
        // A machine that has the driver has no hundred GPUs.
        Assert.StartsWith("engine: --device cuda:99: ", errors, StringComparison.Ordinal);
        Assert.True(errors.Contains("was not found", StringComparison.Ordinal) && errors.Contains("Looked in ", StringComparison.Ordinal) || errors.Contains("cuda:99 is not there", StringComparison.Ordinal), errors);
        Assert.Single(errors.Trim().Split('\n'));
    }

    [Fact]
    public async Task What_a_GPU_cannot_run_is_told_with_the_setting_that_changes_it()
    {
        Func<EngineOptions, ModelKernels, IGpu> none = (_, _) => throw new CudaUnavailableException("no GPU may be asked for");
        Assert.Contains("--weights f32", (await FailAsync(none, options => options with { Weights = WeightFormat.Float32 })).Errors, StringComparison.Ordinal);
        Assert.Contains("--model synthetic", (await FailAsync(none, options => options with { Model = "synthetic" })).Errors, StringComparison.Ordinal);
        var full = new RecordingGpu { FreeBytes = 1000 };
        Assert.Contains("--kv-memory", (await FailAsync((_, _) => full, options => options)).Errors, StringComparison.Ordinal);
        Assert.True(full.Disposed);
    }

    private async Task<(int Code, string Errors)> FailAsync(Func<EngineOptions, ModelKernels, IGpu> openGpu, Func<EngineOptions, EngineOptions> change)
    {
        using var errors = new StringWriter();
        return (await EngineProcess.RunAsync(change(Options("failing")), openGpu, TextWriter.Null, errors, TimeProvider.System, default), errors.ToString());
    }

    private async Task<RunningEngine> StartAsync(string name, IGpu? gpu, Func<EngineOptions, EngineOptions>? change = null)
    {
        var options = Options(name);
        return await RunningEngine.StartAsync(change?.Invoke(options) ?? options, gpu);
    }

    private EngineOptions Options(string name)
    {
        var secret = Path.Combine(_folder.FullName, "secret");
        _ = ClusterSecret.ReadOrCreate(secret);
        return new EngineOptions
        {
            Model = GoldenModels.Folder(Model),
            Device = "cuda:0",
            Weights = WeightFormat.Auto,
            WeightCacheLimitBytes = 1,
            Listen = EngineAddress.Parse($"unix:{_folder}/{name}.sock"),
            KvListen = new IPEndPoint(IPAddress.Loopback, 0),
            SharedMemory = true,
            KvMemoryBytes = 1 << 16,
            PageTokens = 4,
            Limits = new EngineLimits { MaxBatchTokens = 16, MaxSequences = 4 },
            TensorParallel = 1,
            Threads = 1,
            Processors = [],
            Labels = [],
            ClusterSecretFile = secret,
            EngineId = name,
        };
    }

    /// <summary>An engine within this process.</summary>
    private sealed class RunningEngine : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly StringWriter _errors = new();
        private Task<int>? _engine;

        public required EngineClient Client { get; init; }

        public static async Task<RunningEngine> StartAsync(EngineOptions options, IGpu? gpu)
        {
            var engine = new RunningEngine { Client = new EngineClient(options.Listen, new EngineClientOptions(), TimeProvider.System) };
            var output = new FirstLine();
            engine._engine = EngineProcess.RunAsync(options, (_, _) => gpu!, output, engine._errors, TimeProvider.System, engine._stop.Token);
            Assert.True(await Task.WhenAny(output.Written, engine._engine) == output.Written, $"{engine._errors}");
            return engine;
        }

        public async ValueTask DisposeAsync()
        {
            Client.Dispose();
            await _stop.CancelAsync();
            Assert.Equal((0, ""), (await _engine!, _errors.ToString()));
            _stop.Dispose();
        }
    }

    private sealed class FirstLine : TextWriter
    {
        private readonly TaskCompletionSource _written = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public override Encoding Encoding => Encoding.UTF8;

        public Task Written => _written.Task;

        public override Task WriteLineAsync(string? value)
        {
            _ = _written.TrySetResult();
            return Task.CompletedTask;
        }
    }
}
