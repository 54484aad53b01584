using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.Engine.Sampling;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>What the runner asks of a GPU: launches, recordings, and everything back in the end. The GPU computes nothing.</summary>
public sealed class CudaStepTests : IDisposable
{
    private const string Model = "llama31-bf16";
    private readonly RecordingGpu _gpu = new();

    public void Dispose() => _gpu.Dispose();

    [Fact]
    public void A_step_runs_each_layer_in_order_and_copies_once_each_way()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        _gpu.Log.Clear();
        // Two sequences that decode, and a chunk of a prompt between them.
        Forward(runner, pool, Decode(3, 0), Chunk(0, 5, 1), Decode(9, 3));
        string[] layer =
        [
            "add_rms_norm 7,1,1", "skinny_gemm 10,1,1", "rope_kv 7,1,1", "paged_decode 2,2,1", "combine_units 2,6,1", "prefill_attention 1,2,1", "skinny_gemm 3,1,1",
            "add_rms_norm 7,1,1", "skinny_gemm 9,1,1", "activate_multiply 7,1,1", "skinny_gemm 3,1,1",
        ];
        Assert.Equal(["upload", "embed 7,1,1", "rope_angles 7,1,1", .. layer, .. layer, "add_rms_norm 3,1,1", "skinny_gemm 14,1,1", "download", "wait"], _gpu.Log);
    }

    [Fact]
    public void Decoding_is_recorded_once_for_each_size_and_replayed_from_then_on()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        string[] Run(int rows)
        {
            _gpu.Log.Clear();
            Forward(runner, pool, [.. Enumerable.Range(0, rows).Select(row => Decode(2, row))]);
            return [.. _gpu.Log.Where(entry => entry[0] != '+')];
        }

        string[] replayed = ["upload", "replay", "download", "wait"], recorded = ["upload", "capture", .. replayed[1..]];
        Assert.Equal(recorded, Run(8));
        Assert.Equal(replayed, Run(5));
        Assert.Equal(recorded, Run(4));
        Assert.Equal(recorded, Run(1));
        Assert.Equal(replayed, Run(3));
        Assert.Equal(replayed, Run(8));
        Assert.Equal(replayed, Run(1));
    }

    [Fact]
    public void Tokens_are_chosen_within_the_recorded_step_and_come_back_alone()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        void Run(int rows)
        {
            Launch(runner, pool, [.. Enumerable.Range(0, rows).Select(row => Decode(2, row))]);
            runner.Collect();
        }

        Run(4);
        _gpu.Log.Clear();
        Run(3);
        Assert.Equal(["upload", "upload", "replay", "download", "mark 1", "wait for 1"], _gpu.Log);
        _gpu.Log.Clear();
        Run(2);
        Assert.Equal(["+adjust_scores 2,1,1", "+sample_tokens 2,1,1"], _gpu.Log.Where(entry => entry.StartsWith("+adjust", StringComparison.Ordinal) || entry.StartsWith("+sample", StringComparison.Ordinal)));
        var error = Assert.Throws<ArgumentException>(() => runner.Launch([Decode(2, 0)], pool, choices: [], observer: null));
        Assert.Contains("0 choices for 1 slices", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_step_is_launched_with_the_tokens_of_one_that_is_under_way()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        Launch(runner, pool, Decode(2, 0), Decode(2, 1));
        Launch(runner, pool, Decode(3, 0) with { Choice = 0 }, Decode(3, 1) with { Choice = 1 });
        Assert.Contains("collect one first", Assert.Throws<InvalidOperationException>(() => Launch(runner, pool, Decode(4, 0))).Message, StringComparison.Ordinal);
        runner.Collect();
        _gpu.Log.Clear();
        Launch(runner, pool, Decode(4, 1) with { Choice = 1 });
        runner.Collect();
        runner.Collect();
        Assert.Equal(["mark 0", "wait for 1", "wait for 0"], _gpu.Log.Where(entry => entry.Contains("mark", StringComparison.Ordinal) || entry.StartsWith("wait for", StringComparison.Ordinal)));
        Assert.Throws<InvalidOperationException>(runner.Collect);
        foreach (var wrong in (StepSlice[])[Decode(5, 1) with { Choice = 1 }, Decode(5, 1) with { Choice = -1 }, Chunk(5, 2, 1) with { Choice = 0 }])
        {
            Assert.Contains("of the step before, which had 1 choices", Assert.Throws<ArgumentException>(() => Launch(runner, pool, wrong)).Message, StringComparison.Ordinal);
        }

        Assert.Throws<ArgumentException>(() => Forward(runner, pool, Decode(5, 1) with { Choice = 0 }));
    }

    [Fact]
    public void Recordings_are_made_anew_for_another_pool()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        Forward(runner, pool, Decode(2, 0));
        using var other = new CudaKvPool(_gpu, runner.Layout, 8);
        _gpu.Log.Clear();
        Forward(runner, other, Decode(2, 0));
        Assert.Contains("capture", _gpu.Log);
        pool.Dispose();
    }

    [Fact]
    public void Nothing_is_allocated_on_the_device_after_the_start_whatever_steps_come()
    {
        using var runner = CudaModels.Load(_gpu, Model, context: 512);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 128);
        long atStart = _gpu.Allocated;
        int[] pages = [.. Enumerable.Range(0, 128)];
        var parameters = new SamplingParameters { RepetitionPenalty = 1.2f, LogitBias = Enumerable.Range(0, 40).ToDictionary(token => token, _ => 1f), MinTokens = 5, StopTokens = new HashSet<int> { 1, 2 } };
        foreach (int rows in (int[])[1, 64, 3, 33])
        {
            StepSlice[] slices = [.. Enumerable.Range(0, rows).Select(row => new StepSlice(new[] { 1 }, 511 - row, pages, WantsLogits: true))];
            runner.Launch(slices, pool, [.. slices.Select(slice => new TokenChoice(new object(), parameters, new TokenCounts([1, 2], [3]), 1, slice.Position + 1))], observer: null);
            runner.Collect();
        }

        runner.Forward([new StepSlice(new int[64], 300, pages, WantsLogits: false)], pool, Array.Empty<float>(), observer: null);
        Assert.Equal(atStart, _gpu.Allocated);
    }

    [Fact]
    public void A_step_of_more_units_than_are_worked_on_at_a_time_goes_through_them_in_runs()
    {
        using var runner = CudaModels.Load(_gpu, Model, context: 512, units: 8);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 128);
        int[] pages = [.. Enumerable.Range(0, 128)];
        // 3, 5, 8, 1 and 1 units of 64 positions.
        StepSlice[] slices = [.. ((int[])[129, 300, 511, 5, 63]).Select(position => new StepSlice(new[] { 1 }, position, pages, WantsLogits: true))];
        _gpu.Log.Clear();
        Forward(runner, pool, slices);
        string[] layer = ["paged_decode 8,2,1", "combine_units 2,6,1", "paged_decode 8,2,1", "combine_units 1,6,1", "paged_decode 2,2,1", "combine_units 2,6,1"];
        Assert.Equal([.. layer, .. layer], _gpu.Log.Where(entry => entry.Contains("paged_decode", StringComparison.Ordinal) || entry.Contains("combine", StringComparison.Ordinal)));
        Assert.DoesNotContain("capture", _gpu.Log);
    }

    [Theory]
    [InlineData("llama31-bf16")]
    [InlineData("gemma2-bf16")]
    [InlineData("qwen3moe-bf16")]
    public void A_recorded_step_has_no_more_launches_than_were_counted_for_it(string name)
    {
        using var runner = CudaModels.Load(_gpu, name);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        foreach (int rows in (int[])[1, CudaModels.MaxBatchTokens])
        {
            _gpu.Log.Clear();
            Launch(runner, pool, [.. Enumerable.Range(0, rows).Select(row => Decode(2, row % 8))]);
            runner.Collect();
            Assert.InRange(_gpu.Log.Count(entry => entry[0] == '+'), 1, StepGraphs.MostLaunches(runner.Layout.Layers));
        }
    }

    [Fact]
    public void A_step_beyond_its_limits_is_refused_with_the_setting_that_raises_them()
    {
        var options = new CudaRunnerOptions { PageTokens = CudaModels.PageTokens, MaxBatchTokens = 32, MaxSequences = 2, KvMemoryBytes = 1 << 20 };
        using var runner = CudaModelLoader.Load(GoldenModels.Folder(Model), options, _ => _gpu);
        using var pool = runner.CreatePool(8, epoch: 1);
        var error = Assert.Throws<ArgumentException>(() => Launch(runner, pool, Decode(2, 0), Decode(2, 1), Decode(2, 2)));
        Assert.Contains("MaxSequences allows 2", error.Message, StringComparison.Ordinal);
        Launch(runner, pool, Decode(2, 0), Decode(2, 1));
        runner.Collect();
    }

    [Fact]
    public void An_observer_is_told_of_a_layer_when_its_KV_is_there()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        _gpu.Log.Clear();
        runner.Forward([Chunk(0, 3, 0) with { WantsLogits = false }], pool, Array.Empty<float>(), new Observer(_gpu));
        string[] told = [.. _gpu.Log.Where(entry => entry.Split(' ')[0] is "rope_kv" or "mark" or "wait" or "told" or "prefill_attention")];
        Assert.Equal(["rope_kv 3,1,1", "mark 3", "told 0", "prefill_attention 1,2,1", "rope_kv 3,1,1", "mark 4", "told 1", "prefill_attention 1,2,1", "wait"], told);
    }

    [Fact]
    public void Staging_waits_for_the_layer_that_it_loads_and_for_no_other()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        int live = _gpu.Live, bytes = runner.Layout.PageBytes;
        using (var staging = pool.RentStaging())
        using (var second = pool.RentStaging())
        {
            _gpu.Log.Clear();
            staging.Load(1, [4, 5, 6, 2]);
            second.Store(3, layer: 0, page: 7, offset: 8, bytes: 16);
            second.Settle();
            Assert.Equal(
                [
                    "copies: after 2", "copies: after 4", $"copies: download {3 * bytes} from {(8 + 4) * bytes}", $"copies: download {bytes} from {(8 + 2) * bytes}", "copies: wait",
                    "copies: after 2", $"copies: upload 16 to {7 * bytes + 8}", "copies: wait",
                ],
                _gpu.Log);
        }

        // Two areas of a buffer and a stream each are kept for the next ones.
        pool.RentStaging().Dispose();
        Assert.Equal(live + 4, _gpu.Live);
        pool.Dispose();
        Assert.Equal(live - 1 - 3, _gpu.Live);
    }

    [Fact]
    public void A_page_is_copied_in_all_layers()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        _gpu.Log.Clear();
        pool.CopyPage(1, 2);
        Assert.Equal(["copy", "copy", "mark 2"], _gpu.Log);
        Assert.Throws<ArgumentOutOfRangeException>(() => pool.CopyPage(1, 8));
    }

    [Fact]
    public void Whatever_fails_while_a_model_is_loaded_gives_everything_back()
    {
        using (CudaModels.Load(_gpu, Model))
        {
        }

        Assert.True(_gpu.Disposed);
        Assert.Equal(0, _gpu.Live);
        for (int call = 0; call < _gpu.Calls; call++)
        {
            var gpu = new RecordingGpu { FailingCall = call };
            Assert.Throws<InvalidOperationException>(() => CudaModels.Load(gpu, Model));
            Assert.True(gpu.Disposed && gpu.Live == 0, $"call {call}: {gpu.Live} left");
        }
    }

    [Fact]
    public void A_step_that_fails_anywhere_leaves_a_runner_that_goes_on()
    {
        int calls = FailOnce(failing: -1);
        Assert.InRange(calls, 20, 200);
        for (int call = 0; call < calls; call++)
        {
            _ = FailOnce(call);
        }
    }

    [Fact]
    public void A_pool_that_is_not_the_GPUs_is_refused()
    {
        using var runner = CudaModels.Load(_gpu, Model);
        using var pool = new TestKvPool(runner.Layout, 8);
        var error = Assert.Throws<ArgumentException>(() => Forward(runner, pool, Decode(0, 0)));
        Assert.Contains("CudaKvPool", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_step_of_experts_stays_on_the_device_and_is_recorded()
    {
        using var runner = CudaModels.Load(_gpu, "qwen3moe-bf16");
        using var pool = new CudaKvPool(_gpu, runner.Layout, 8);
        _gpu.Log.Clear();
        Forward(runner, pool, Decode(2, 0));
        Assert.Equal(["upload", "capture", "replay", "download", "wait"], _gpu.Log.Where(entry => entry[0] != '+'));
        string[] experts = [.. _gpu.Log.SkipWhile(entry => !entry.StartsWith("+route", StringComparison.Ordinal)).Take(6)];
        // One row at 3 of 9 experts: at most 3 tiles.
        Assert.Equal(["+route_experts 1,1,1", "+sort_slots 1,1,1", "+skinny_experts 3,3,1", "+activate_multiply 3,1,1", "+skinny_experts 3,3,1", "+mix_experts 1,1,1"], experts);
    }

    [Fact]
    public void Weights_that_the_kernels_have_not_are_refused_before_there_is_a_GPU()
    {
        var error = Assert.Throws<NotSupportedException>(() => CudaModels.Load(_gpu, Model, weights: WeightFormat.Float32));
        Assert.Contains("--weights f32", error.Message, StringComparison.Ordinal);
        Assert.Contains("--device cpu", error.Message, StringComparison.Ordinal);
        Assert.Equal(0, _gpu.Calls);
    }

    [Fact]
    public void A_launch_that_no_device_has_is_refused()
    {
        var kernel = new Kernel(_gpu.Kernel("k", 0), 32, 0);
        _gpu.Call(kernel, new Extent(1 << 20, 65535), 1);
        Assert.Throws<ArgumentException>(() => _gpu.Call(kernel, new Extent(1, 65536), 1));
        Assert.Throws<ArgumentException>(() => _gpu.Call(kernel, new Extent(1), new KernelArgument[24]));
    }

    [Theory]
    [InlineData("llama31-bf16")]
    [InlineData("gemma2-bf16")]
    [InlineData("qwen2-bf16-sharded")]
    [InlineData("qwen3-bf16")]
    [InlineData("phi3-longrope-f32")]
    [InlineData("qwen3-f32")]
    [InlineData("mixtral-f32")]
    [InlineData("qwen3moe-bf16", WeightFormat.Int8)]
    [InlineData("gemma2-bf16", WeightFormat.Float8)]
    public void Too_little_memory_is_told_before_any_is_taken(string name, WeightFormat weights = WeightFormat.Auto)
    {
        var options = new CudaRunnerOptions { Weights = weights, PageTokens = CudaModels.PageTokens, MaxBatchTokens = 96, MaxSequences = 1, KvMemoryBytes = 1 << 20 };
        long needed;
        using (var gpu = new RecordingGpu())
        {
            using var runner = CudaModelLoader.Load(GoldenModels.Folder(name), options, _ => gpu);
            var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(GoldenModels.Folder(name), "config.json")));
            var limits = StepLimits.Of(config, options.MaxBatchTokens, options.MaxSequences, options.KvMemoryBytes / runner.Layout.PageBytesAllLayers * runner.Layout.PageTokens);
            needed = gpu.Allocated + options.KvMemoryBytes + StepGraphs.BytesFor(limits, config.Layers);
        }

        var full = new RecordingGpu { FreeBytes = needed - 1 };
        var error = Assert.Throws<CudaUnavailableException>(() => CudaModelLoader.Load(GoldenModels.Folder(name), options, _ => full));
        Assert.StartsWith($"the GPU has {needed - 1} bytes free of {1L << 41}, which is 1 too few", error.Message, StringComparison.Ordinal);
        Assert.Contains("--max-batch-tokens 96 and --max-sequences 1", error.Message, StringComparison.Ordinal);
        Assert.Contains("--kv-memory 1048576", error.Message, StringComparison.Ordinal);
        Assert.True(full.Disposed && full.Calls == 0);
        var enough = new RecordingGpu { FreeBytes = needed };
        CudaModelLoader.Load(GoldenModels.Folder(name), options, _ => enough).Dispose();
        Assert.Equal(0, enough.Live);
    }

    /// <summary>A large step, of which a call fails, and the same step again.</summary>
    /// <returns>The calls of the first one.</returns>
    private static int FailOnce(int failing)
    {
        const int Position = 1100;
        using var gpu = new RecordingGpu();
        int calls;
        using (var runner = CudaModels.Load(gpu, Model, context: 2 * Position))
        {
            int[] pages = [.. Enumerable.Range(0, Position / CudaModels.PageTokens + 1)];
            using var pool = new CudaKvPool(gpu, runner.Layout, pages.Length);
            StepSlice[] slices = [.. Enumerable.Range(0, 60).Select(row => new StepSlice(new[] { 1 }, Position, pages, WantsLogits: true))];
            int before = gpu.Calls;
            gpu.FailingCall = failing < 0 ? -1 : before + failing;
            if (failing >= 0)
            {
                Assert.Throws<InvalidOperationException>(() => Forward(runner, pool, slices));
                gpu.FailingCall = -1;
            }

            Forward(runner, pool, slices);
            calls = gpu.Calls - before;
        }

        Assert.Equal(0, gpu.Live);
        return calls;
    }

    /// <summary>A token of a sequence whose pages begin with <paramref name="page"/>.</summary>
    private static StepSlice Decode(int position, int page) => new(new[] { 1 }, position, new[] { page, page, page }, WantsLogits: true);

    private static StepSlice Chunk(int position, int count, int page) => new(Enumerable.Range(1, count).ToArray(), position, new[] { page, page + 1 }, WantsLogits: true);

    private static void Launch(CudaModelRunner runner, KvTransport.KvPool pool, params StepSlice[] slices) =>
        runner.Launch(slices, pool, [.. slices.Select(_ => new TokenChoice(pool, new SamplingParameters(), null, 0, 3))], observer: null);

    private static void Forward(CudaModelRunner runner, KvTransport.KvPool pool, params StepSlice[] slices) =>
        runner.Forward(slices, pool, new float[slices.Length * runner.Model.VocabSize], observer: null);

    private sealed class Observer(RecordingGpu gpu) : ILayerObserver
    {
        public void LayerDone(int layer) => gpu.Log.Add($"told {layer}");
    }
}
