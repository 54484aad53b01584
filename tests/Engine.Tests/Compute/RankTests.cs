using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Caching;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>Models that are divided among ranks: the same bits as of the whole, and clear errors where it cannot be.</summary>
public sealed class RankTests
{
    private const string Llama = "LlamaForCausalLM";

    /// <summary>Ranks that share a head wait for the one that writes it; what the others have of the projection are queries alone.</summary>
    [Theory]
    [InlineData("Qwen2ForCausalLM", "BF16", WeightFormat.Int8, 4, 2)]
    [InlineData("Gemma3ForCausalLM", "F16", WeightFormat.Auto, 4, 1)]
    [InlineData("Phi3ForCausalLM", "F32", WeightFormat.Auto, 6, 3)]
    public void More_ranks_than_key_value_heads_share_them(string architecture, string stored, WeightFormat weights, int ranks, int kvHeads)
    {
        using var folder = RandomConfigs.Folder(architecture, stored, new Random(1), ranks, kvHeads);
        foreach (var kvType in Enum.GetValues<KvDataType>())
        {
            var one = Run(folder.Path, new CpuRunnerOptions { Weights = weights, Threads = 1, MaxBatchTokens = 64, KvDataType = kvType }, 3);
            var several = Run(folder.Path, new CpuRunnerOptions { Weights = weights, TensorParallel = ranks, Threads = ranks, MaxBatchTokens = 64, KvDataType = kvType }, 5);
            Assert.Equal(kvHeads, several.Shards);
            Assert.Equal(one.Kv, several.Kv);
            Assert.Equal(one.Logits, several.Logits);
        }
    }

    [Theory]
    [InlineData(Llama, "F32", WeightFormat.Auto, 3)]
    [InlineData(Llama, "BF16", WeightFormat.Int8, 2)]
    [InlineData("Gemma2ForCausalLM", "F32", WeightFormat.BFloat16, 2)]
    [InlineData("Phi3ForCausalLM", "F16", WeightFormat.Int8, 4)]
    [InlineData("Qwen3MoeForCausalLM", "BF16", WeightFormat.Auto, 4)]
    [InlineData("MixtralForCausalLM", "F32", WeightFormat.Int8, 3)]
    public void Logits_and_kv_are_those_of_one_rank_bit_for_bit(string architecture, string stored, WeightFormat weights, int ranks)
    {
        for (int seed = 0; seed < 3; seed++)
        {
            using var folder = RandomConfigs.Folder(architecture, stored, new Random(seed), ranks);
            var kvType = Enum.GetValues<KvDataType>()[seed];
            var one = Run(folder.Path, new CpuRunnerOptions { Weights = weights, Threads = 2, MaxBatchTokens = 64, KvDataType = kvType }, seed);
            var several = Run(folder.Path, new CpuRunnerOptions { Weights = weights, TensorParallel = ranks, Threads = ranks * (1 + (seed % 2)), MaxBatchTokens = 64, PageTokens = 5, KvDataType = kvType }, seed + 100);
            Assert.Equal(one.Layout, several.Layout with { PageTokens = one.Layout.PageTokens });
            Assert.Equal(one.Kv, several.Kv);
            Assert.Equal(one.Logits, several.Logits);
        }
    }

    [Fact]
    public void A_layer_is_told_when_all_ranks_have_written_it_and_in_order()
    {
        using var folder = RandomConfigs.Folder(Llama, "F32", new Random(2), ranks: 4, kvHeads: 4);
        using var runner = Load(folder.Path, 4);
        var (pool, sequences) = PagedSequence.Deal(runner.Layout, [[1, 2, 3, 4, 5, 6, 7, 8, 9]], 0, new Random(1), runner.KvShards);
        using (pool)
        {
            var told = new List<int>();
            var seen = new Dictionary<int, byte[]>();
            PagedSequence.Step(runner, pool, [(sequences[0], 9, true)], new Observer(layer =>
            {
                told.Add(layer);
                seen[layer] = sequences[0].Kv(pool, layer, 8);
            }));
            Assert.Equal(Enumerable.Range(0, runner.Layout.Layers), told);
            Assert.All(seen, layer => Assert.Equal(sequences[0].Kv(pool, layer.Key, 8), layer.Value));
            Assert.DoesNotContain(float.NaN, sequences[0].Logits[8]);
        }
    }

    [Fact]
    public void A_step_that_fails_midway_fails_for_all_ranks_and_the_next_one_is_right()
    {
        using var folder = RandomConfigs.Folder(Llama, "F32", new Random(4), ranks: 2, kvHeads: 2);
        using var whole = Load(folder.Path, 1);
        using var runner = Load(folder.Path, 2);
        int[] prompt = [1, 2, 3, 4, 5, 6, 7];
        var (pool, sequences) = PagedSequence.Deal(runner.Layout, [prompt, prompt], 0, new Random(1), runner.KvShards);
        var (wholePool, expected) = PagedSequence.Deal(whole.Layout, [prompt], 0, new Random(1));
        using (pool)
        using (wholePool)
        {
            var failure = Assert.Throws<InvalidDataException>(() => PagedSequence.Step(
                runner, pool, [(sequences[0], 7, true)], new Observer(_ => throw new InvalidDataException("observers fail, too"))));
            Assert.Equal("observers fail, too", failure.Message);
            PagedSequence.Step(runner, pool, [(sequences[1], 7, true)]);
            PagedSequence.Step(whole, wholePool, [(expected[0], 7, true)]);
            Assert.Equal(expected[0].Logits[6], sequences[1].Logits[6]);
        }
    }

    [Fact]
    public void Every_rank_keeps_its_weights_in_a_file_of_its_own()
    {
        using var folder = RandomConfigs.Folder(Llama, "F32", new Random(6), ranks: 2);
        var cacheFolder = Directory.CreateTempSubdirectory("scriptedserve-test-");
        try
        {
            var lines = new List<string>();
            WeightCache Cache() => new(cacheFolder.FullName, 1L << 30, TimeProvider.System, line => { lock (lines) { lines.Add(line); } });
            var options = new CpuRunnerOptions { TensorParallel = 2, Threads = 2, MaxBatchTokens = 64, Weights = WeightFormat.Int8 };
            var expected = Run(folder.Path, options, 1);
            var (first, second, one) = (Cache(), Cache(), Cache());
            var packed = Run(folder.Path, options with { WeightCache = first }, 1);
            var mapped = Run(folder.Path, options with { WeightCache = second }, 1);
            _ = Run(folder.Path, options with { TensorParallel = 1, WeightCache = one }, 1);
            Assert.Equal((2, 0, 1), (first.Packed, second.Packed, one.Packed));
            Assert.Equal(3, cacheFolder.GetFiles("*.weights").Length);
            Assert.Equal(expected.Logits, packed.Logits);
            Assert.Equal(expected.Logits, mapped.Logits);
            Assert.Empty(lines);
        }
        finally
        {
            cacheFolder.Delete(recursive: true);
        }
    }

    [Fact]
    public void A_model_that_cannot_be_divided_is_refused_with_every_reason()
    {
        using var folder = RandomConfigs.Folder(Llama, "F32", new Random(1), ranks: 2);
        folder.EditConfig(config => (config["num_key_value_heads"], config["num_attention_heads"], config["intermediate_size"], config["vocab_size"]) = (3, 6, 50, 20));
        var error = Assert.Throws<ArgumentException>(() => Load(folder.Path, 4, WeightFormat.Int8));
        Assert.Equal(
            "the model cannot be divided among 4 ranks (--tensor-parallel): its 3 key/value heads are no multiple of 4, nor can as many ranks share each, with equal parts of its 6 query heads; "
            + "a feed-forward's width of 50 in units of 32 is less than one for each rank; its vocabulary of 20 in units of 16 is less than one for each rank",
            error.Message);
        folder.EditConfig(config => (config["num_key_value_heads"], config["num_attention_heads"], config["head_dim"], config["intermediate_size"], config["vocab_size"]) = (2, 4, 24, 500, 200));
        error = Assert.Throws<ArgumentException>(() => Load(folder.Path, 4, WeightFormat.Int8));
        Assert.Contains("1 query heads of 24 a rank are no multiple of 32 inputs", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_that_are_not_finite_are_told_by_their_place_in_the_whole_tensor()
    {
        using var folder = RandomConfigs.Folder(Llama, "F32", new Random(8), ranks: 2);
        int bad = 0;
        folder.EditMatrices((name, row) =>
        {
            if (name == "model.layers.0.mlp.down_proj.weight" && bad++ == 2)
            {
                row[^1] = float.NaN;
            }
        });
        int width = 0;
        folder.EditConfig(config => width = (int)config["intermediate_size"]!);
        var error = Assert.Throws<ScriptedServe.Engine.Compute.Checkpoints.ModelLoadException>(() => Load(folder.Path, 2));
        Assert.Contains($"[2, {width - 1}]", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_pool_must_have_a_shard_for_each_rank()
    {
        using var folder = RandomConfigs.Folder(Llama, "F32", new Random(9), ranks: 2, kvHeads: 2);
        using var runner = Load(folder.Path, 2);
        var (pool, sequences) = PagedSequence.Deal(runner.Layout, [[1]], 0, new Random(1));
        using (pool)
        {
            var error = Assert.Throws<ArgumentException>(() => PagedSequence.Step(runner, pool, [(sequences[0], 1, true)]));
            Assert.Contains("the pool has 1 shards; the model, as it is divided, wants 2", error.Message, StringComparison.Ordinal);
        }
    }

    /// <summary>Whatever the threads do: a rank that comes late, or early, changes nothing.</summary>
    [Fact]
    public void Ranks_meet_and_wait_for_each_other()
    {
        using var threads = new RankThreads(4);
        var seen = new int[4];
        for (int round = 1; round <= 50; round++)
        {
            var counts = new int[4];
            threads.Run(rank =>
            {
                Volatile.Write(ref seen[rank], round);
                threads.Meet();
                counts[rank] = seen.Count(number => number == round);
                threads.Meet();
            });
            Assert.All(counts, count => Assert.Equal(4, count));
        }
    }

    private static CpuModelRunner Load(string folder, int ranks, WeightFormat weights = WeightFormat.Auto) =>
        CpuModelRunner.Load(folder, new CpuRunnerOptions { Weights = weights, TensorParallel = ranks, Threads = ranks, MaxBatchTokens = 64 });

    private static Results Run(string folder, CpuRunnerOptions options, int seed)
    {
        using var runner = CpuModelRunner.Load(folder, options);
        var tokens = new Random(77);
        int[][] prompts = [.. new[] { 40, 1, 17 }.Select(length => Enumerable.Range(0, length).Select(_ => tokens.Next(runner.Model.VocabSize)).ToArray())];
        var (pool, sequences) = PagedSequence.Deal(runner.Layout, prompts, 0, new Random(seed), runner.KvShards);
        using (pool)
        {
            PagedSequence.RunAtRandom(runner, pool, sequences, options.MaxBatchTokens, new Random(seed));
            return new Results(
                runner.KvShards,
                runner.Layout,
                [.. sequences.Select(sequence => sequence.Logits[sequence.Tokens.Count - 1])],
                [.. from sequence in sequences from layer in Enumerable.Range(0, runner.Layout.Layers) from position in Enumerable.Range(0, sequence.Tokens.Count) select sequence.Kv(pool, layer, position)]);
        }
    }

    private sealed record Results(int Shards, KvLayout Layout, float[][] Logits, byte[][] Kv);

    private sealed class Observer(Action<int> told) : ILayerObserver
    {
        public void LayerDone(int layer) => told(layer);
    }
}
