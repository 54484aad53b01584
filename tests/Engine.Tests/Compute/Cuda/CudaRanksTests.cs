using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>Models divided among GPUs: the real kernels on as many emulated ones, joined within the process.</summary>
public sealed class CudaRanksTests
{
    /// <summary>What another order of sums, rounded to 16 bits on the way, may change of a logit.</summary>
    private const double Tolerance = 0.15;

    [RequiresTheory(Need.CppCompiler)]
    [InlineData("llama-f32", 2)]
    [InlineData("llama-f32", 2, WeightFormat.Int8)]
    [InlineData("gemma2-bf16", 2)]
    [InlineData("qwen2-bf16-sharded", 2)]
    [InlineData("qwen3moe-bf16", 2)]
    [InlineData("mistral-f32", 5)]
    public async Task A_divided_model_computes_what_one_GPU_does_but_for_the_order_of_sums(string name, int ranks, WeightFormat weights = WeightFormat.Auto)
    {
        var kernels = await KernelEmulation.Folder.Value;
        EmulatedGpu[] gpus = [.. Enumerable.Range(0, ranks).Select(_ => new EmulatedGpu(kernels))];
        var single = new EmulatedGpu(kernels);
        int[][] prompts = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19], [90, 80, 70], [20, 30, 40, 50, 60]];
        using (var whole = CudaModels.LoadRanks([single], name, weights))
        using (var divided = CudaModels.LoadRanks(gpus, name, weights))
        {
            Assert.Equal(whole.Layout, divided.Layout);
            var (expected, actual) = (Run(whole, prompts), Run(divided, prompts));
            Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, Tolerance));
        }

        Assert.All(gpus.Append(single), gpu => Assert.Equal(0, gpu.Live));
    }

    [RequiresFact(Need.CppCompiler)]
    public async Task Tokens_chosen_by_the_first_rank_feed_the_next_step_of_all_before_they_are_known()
    {
        var kernels = await KernelEmulation.Folder.Value;
        using var whole = CudaModels.LoadRanks([new EmulatedGpu(kernels)], "llama-f32");
        using var divided = CudaModels.LoadRanks([new EmulatedGpu(kernels), new EmulatedGpu(kernels)], "llama-f32");
        var golden = GoldenModels.Cases("llama-f32").Cases.First(golden => golden.Prompt.Length is > 3 and < 24 && golden.ExpectedIds.Length >= 4);
        Assert.Equal(golden.ExpectedIds[..4], Greedy(whole, golden.Prompt, 4));
        Assert.Equal(golden.ExpectedIds[..4], Greedy(divided, golden.Prompt, 4));
    }

    [RequiresFact(Need.CppCompiler)]
    public async Task Pages_leave_and_enter_a_divided_pool_whole()
    {
        var kernels = await KernelEmulation.Folder.Value;
        using var whole = CudaModels.LoadRanks([new EmulatedGpu(kernels)], "llama-f32");
        using var divided = CudaModels.LoadRanks([new EmulatedGpu(kernels), new EmulatedGpu(kernels)], "llama-f32");
        int[] prompt = [.. Enumerable.Range(5, 2 * CudaModels.PageTokens)], pages = [2, 0, 1];
        using KvPool from = divided.CreatePool(3, 1), to = divided.CreatePool(3, 2), wholePool = whole.CreatePool(3, 3);
        var slice = new StepSlice(prompt, 0, pages, WantsLogits: true);
        float[] Last(CudaModelRunner runner, KvPool pool)
        {
            // The next token, over the KV of the prompt.
            var logits = new float[runner.Model.VocabSize];
            runner.Forward([new StepSlice(new[] { 7 }, prompt.Length, pages, WantsLogits: true)], pool, logits, observer: null);
            return logits;
        }

        var told = new List<int>();
        divided.Forward([slice], from, new float[divided.Model.VocabSize], new Observer(told.Add));
        whole.Forward([slice], wholePool, new float[whole.Model.VocabSize], observer: null);
        Assert.Equal(Enumerable.Range(0, divided.Layout.Layers), told);
        foreach (var (source, bits) in new[] { (from, true), (wholePool, false) })
        {
            using (PageStaging sending = source.RentStaging(), receiving = to.RentStaging())
            {
                for (int layer = 0; layer < divided.Layout.Layers; layer++)
                {
                    sending.Load(layer, [2, 0]);
                    for (int place = 0; place < 2; place++)
                    {
                        sending.Page(0, place).CopyTo(receiving.Page(0, place));
                        // In two pieces that end within a head.
                        int page = place == 0 ? 2 : 0, cut = divided.Layout.PlaneBytes - divided.Layout.HeadBytes - 8;
                        receiving.Store(place, layer, page, 0, cut);
                        receiving.Store(place, layer, page, cut, divided.Layout.PageBytes - cut);
                    }

                    receiving.Settle();
                }
            }

            var (expected, actual) = (Last(divided, from), Last(divided, to));
            Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, bits ? 0 : Tolerance));
        }
    }

    [Fact]
    public void Each_half_of_a_block_ends_with_one_sum_and_logits_with_another()
    {
        RecordingGpu[] gpus = [new(), new()];
        using var runner = CudaModels.LoadRanks(gpus, "llama31-bf16");
        using var pool = runner.CreatePool(8, 1);
        Assert.All(gpus, gpu => gpu.Log.Clear());
        runner.Launch([Decode(2, 0), Decode(3, 1)], pool, [Greedily(pool), Greedily(pool)], observer: null);
        runner.Collect();
        int hidden = 48, vocab = runner.Model.VocabSize;
        foreach (var gpu in gpus)
        {
            Assert.Equal(
                [$"+sum {2 * hidden}", $"+sum {2 * hidden}", $"+sum {2 * hidden}", $"+sum {2 * hidden}", "+place_columns 2,1,1", $"+sum {2 * vocab}", "+broadcast 8"],
                gpu.Log.Where(entry => entry.StartsWith("+sum", StringComparison.Ordinal) || entry.StartsWith("+place", StringComparison.Ordinal) || entry.StartsWith("+broadcast", StringComparison.Ordinal)));
        }

        Assert.Contains("+sample_tokens 2,1,1", gpus[0].Log);
        Assert.DoesNotContain("+sample_tokens 2,1,1", gpus[1].Log);
    }

    [Fact]
    public void Whatever_fails_while_a_model_is_divided_gives_everything_back()
    {
        RecordingGpu[] gpus = [new(), new()];
        CudaModels.LoadRanks(gpus, "llama31-bf16").Dispose();
        Assert.All(gpus, gpu => Assert.Equal((0, true), (gpu.Live, gpu.Disposed)));
        for (int rank = 0; rank < 2; rank++)
        {
            for (int call = 0; call < gpus[rank].Calls; call++)
            {
                RecordingGpu[] failing = [new() { FailingCall = rank == 0 ? call : -1 }, new() { FailingCall = rank == 1 ? call : -1 }];
                Assert.Throws<InvalidOperationException>(() => CudaModels.LoadRanks(failing, "llama31-bf16"));
                Assert.All(failing, gpu => Assert.Equal((0, true), (gpu.Live, gpu.Disposed)));
            }
        }
    }

    [Fact]
    public void A_rank_that_fails_in_a_step_ends_the_group_rather_than_have_others_wait()
    {
        RecordingGpu[] gpus = [new(), new()];
        using var runner = CudaModels.LoadRanks(gpus, "llama31-bf16");
        using var pool = runner.CreatePool(8, 1);
        gpus[1].FailingCall = gpus[1].Calls + 3;
        Assert.Throws<InvalidOperationException>(() => runner.Forward([Decode(2, 0)], pool, new float[runner.Model.VocabSize], observer: null));
        Assert.All(gpus, gpu => Assert.Contains("abort", gpu.Log));
    }

    [Theory]
    [InlineData("llama31-bf16", 3, WeightFormat.Auto, "its 2 key/value heads are no multiple of 3")]
    [InlineData("llama31-tied-f32", 2, WeightFormat.Auto, "its 1 key/value heads are no multiple of 2")]
    [InlineData("llama31-bf16", 2, WeightFormat.Int8, "3 query heads of 16 a GPU are no multiple of 32 inputs")]
    public void A_model_that_cannot_be_divided_is_refused_before_there_is_a_GPU(string name, int ranks, WeightFormat weights, string reason)
    {
        RecordingGpu[] gpus = [.. Enumerable.Range(0, ranks).Select(_ => new RecordingGpu())];
        var error = Assert.Throws<NotSupportedException>(() => CudaModels.LoadRanks(gpus, name, weights));
        Assert.Contains($"--tensor-parallel {ranks}", error.Message, StringComparison.Ordinal);
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.All(gpus, gpu => Assert.Equal(0, gpu.Calls));
    }

    [Fact]
    public void Too_little_memory_on_one_GPU_names_it()
    {
        RecordingGpu[] gpus = [new(), new() { FreeBytes = 1000 }];
        var error = Assert.Throws<CudaUnavailableException>(() => CudaModels.LoadRanks(gpus, "llama31-bf16"));
        Assert.Contains("on each of 2 GPUs (this is number 1)", error.Message, StringComparison.Ordinal);
        Assert.All(gpus, gpu => Assert.True(gpu.Disposed));
    }

    [Fact]
    public void Memory_is_foretold_for_each_rank()
    {
        foreach (var name in (string[])["llama31-bf16", "qwen2-bf16-sharded", "qwen3moe-f32"])
        {
            RecordingGpu[] gpus = [new(), new()];
            long recorded;
            using (var runner = CudaModels.LoadRanks(gpus, name))
            {
                var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(GoldenModels.Folder(name), "config.json")));
                var limits = StepLimits.Of(config, CudaModels.MaxBatchTokens, maxSequences: 8, CudaModels.RanksKvBytes / runner.Layout.PageBytesAllLayers * CudaModels.PageTokens);
                recorded = StepGraphs.BytesFor(limits, config.Layers);
            }

            for (int rank = 0; rank < 2; rank++)
            {
                long needed = gpus[rank].Allocated + CudaModels.RanksKvBytes / 2 + recorded;
                RecordingGpu[] full = [new(), new()];
                full[rank] = new RecordingGpu { FreeBytes = needed - 1 };
                var error = Assert.Throws<CudaUnavailableException>(() => CudaModels.LoadRanks(full, name));
                Assert.StartsWith($"the GPU has {needed - 1} bytes free of {1L << 41}, which is 1 too few", error.Message, StringComparison.Ordinal);
                Assert.Contains($"--kv-memory {CudaModels.RanksKvBytes / 2} on each of 2 GPUs (this is number {rank})", error.Message, StringComparison.Ordinal);
                RecordingGpu[] enough = [new(), new()];
                enough[rank] = new RecordingGpu { FreeBytes = needed };
                CudaModels.LoadRanks(enough, name).Dispose();
            }
        }
    }

    private static float[] Run(CudaModelRunner runner, int[][] prompts)
    {
        var random = new Random(5);
        var (pool, sequences) = CudaModels.Deal(runner, prompts, 3, random);
        using var _ = pool;
        PagedSequence.RunAtRandom(runner, pool, sequences, CudaModels.MaxBatchTokens, random);
        foreach (var sequence in sequences)
        {
            sequence.Append(33, runner.Model.ShortContext);
        }

        PagedSequence.Step(runner, pool, [.. sequences.Select(sequence => (sequence, sequence.Left, true))]);
        return [.. sequences.SelectMany(sequence => sequence.Logits[sequence.Tokens.Count - 1])];
    }

    /// <summary>Each step is launched before the one before it is collected.</summary>
    private static int[] Greedy(CudaModelRunner runner, int[] prompt, int count)
    {
        int[] pages = [.. Enumerable.Range(0, (prompt.Length + count) / CudaModels.PageTokens + 1)];
        using var pool = runner.CreatePool(pages.Length, 1);
        var tokens = new List<int>();
        for (int step = 0; step <= count; step++)
        {
            if (step < count)
            {
                var slice = step == 0
                    ? new StepSlice(prompt, 0, pages, WantsLogits: true)
                    : new StepSlice(new[] { 0 }, prompt.Length + step - 1, pages, WantsLogits: true) { Choice = 0 };
                runner.Launch([slice], pool, [Greedily(pool)], observer: null);
            }

            if (step > 0)
            {
                runner.Collect();
                tokens.Add(runner.Chosen(0).Token);
            }
        }

        return [.. tokens];
    }

    private static TokenChoice Greedily(object owner) => new(owner, new SamplingParameters { Temperature = 0 }, null, 0, 3);

    private static StepSlice Decode(int position, int page) => new(new[] { 1 }, position, new[] { page, page, page }, WantsLogits: true);

    private sealed class Observer(Action<int> done) : ILayerObserver
    {
        public void LayerDone(int layer) => done(layer);
    }
}
