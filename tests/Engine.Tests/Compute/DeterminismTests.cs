using System.Runtime.InteropServices;
using System.Security.Cryptography;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A token's logits and KV are the same bits however the work was arranged: that is what lets routers move requests about.</summary>
public sealed class DeterminismTests
{
    [Theory]
    [MemberData(nameof(GoldenModels.Names), MemberType = typeof(GoldenModels))]
    public void Results_do_not_depend_on_batch_or_chunking(string name)
    {
        var prompts = Prompts(name);
        foreach (var kvType in Enum.GetValues<KvDataType>())
        {
            var expected = RunTokenByToken(name, prompts, VectorWidths.Best, kvType);
            for (int seed = 0; seed < 4; seed++)
            {
                var random = new Random(seed);
                var options = new CpuRunnerOptions { Threads = 1 + seed % 3, PageTokens = new[] { 1, 4, 16, 7 }[seed % 4], MaxBatchTokens = 200, KvDataType = kvType };
                AssertSame(expected, Run(name, prompts, options, random), $"seed {seed}, {kvType}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(GoldenModels.Names), MemberType = typeof(GoldenModels))]
    public void Results_do_not_depend_on_the_vector_width(string name)
    {
        var prompts = Prompts(name).Where(prompt => prompt.Length < 40).ToArray();
        foreach (var weights in new[] { WeightFormat.Auto, WeightFormat.Int8 })
        {
            var expected = RunTokenByToken(name, prompts, VectorWidth.Scalar, KvDataType.Float32, weights);
            foreach (var width in Enum.GetValues<VectorWidth>())
            {
                var options = new CpuRunnerOptions { Weights = weights, Threads = 2, PageTokens = 16, MaxBatchTokens = 200, VectorWidth = width };
                AssertSame(expected, Run(name, prompts, options, new Random(1)), $"{width}, {weights}");
            }
        }
    }

    /// <summary>Long prompts in large steps go through kernels of their own.</summary>
    [Theory]
    [InlineData("LlamaForCausalLM", 0)]
    [InlineData("MistralForCausalLM", 90)]
    [InlineData("Gemma2ForCausalLM", 40)]
    [InlineData("Qwen3ForCausalLM", 0)]
    public void A_long_prompt_gives_the_same_bits_in_large_steps_as_in_small_ones(string architecture, int window)
    {
        const int Prompt = 230;
        for (int seed = 0; seed < 6; seed++)
        {
            var random = new Random(seed);
            var json = RandomConfigs.Of(architecture, random);
            json["max_position_embeddings"] = Prompt;
            json["num_attention_heads"] = json["num_key_value_heads"]!.GetValue<int>() * new[] { 1, 2, 4, 7, 8, 16 }[seed];
            json["sliding_window"] = window == 0 ? null : window;
            using var folder = ModelFolder.Random(RandomConfigs.Parse(json), json, "F32", seed);
            int[] prompt = [.. Enumerable.Range(0, Prompt).Select(_ => random.Next(json["vocab_size"]!.GetValue<int>()))];
            var kvType = Enum.GetValues<KvDataType>()[seed % 3];
            Results[] Compute(int maxTokens, int pageTokens, int threads)
            {
                var options = new CpuRunnerOptions { Threads = threads, PageTokens = pageTokens, MaxBatchTokens = maxTokens, KvDataType = kvType };
                using var runner = CpuModelRunner.Load(folder.Path, options);
                var (pool, sequences) = PagedSequence.Deal(runner.Layout, [prompt], 0, random);
                using (pool)
                {
                    while (sequences[0].Left > 0)
                    {
                        PagedSequence.Step(runner, pool, [(sequences[0], Math.Min(maxTokens, sequences[0].Left), true)]);
                    }

                    return Collect(pool, sequences);
                }
            }

            var expected = Compute(1, 16, 1);
            AssertSame(expected, Compute(Prompt, 16, 2), $"one step, seed {seed}");
            AssertSame(expected, Compute(random.Next(30, 120), random.Next(1, 20), 1), $"steps, seed {seed}");
        }
    }

    /// <summary>
    /// The bits themselves, so that machines with other vectors, and later kernels, are held to them. A change of the order in which
    /// something is summed changes this hash, and makes KV of the versions before and after it differ.
    /// </summary>
    [Theory]
    [InlineData("qwen3-f32", 58, KvDataType.Float32, "6ff99a0050c90311", WeightFormat.Int8)]
    [InlineData("gemma2-bf16", 58, KvDataType.Float32, "bfb8985cb1e1654c", WeightFormat.Int8)]
    [InlineData("qwen3moe-bf16", 58, KvDataType.Float32, "966b7fc6ea159dcf", WeightFormat.Int8)]
    [InlineData("mistral-f16-swa", 64, KvDataType.Float32, "c56d11e3ed85b8f8")]
    [InlineData("mistral-f16-swa", 64, KvDataType.BFloat16, "a78ef3f487fbb0e0")]
    [InlineData("mistral-f16-swa", 64, KvDataType.Float16, "976d45cdf42d6329")]
    [InlineData("qwen3-f32", 58, KvDataType.Float32, "5bc415f916a87168")]
    [InlineData("qwen3-f32", 58, KvDataType.Float16, "b5e351c2a4dfb437")]
    [InlineData("gemma2-bf16", 58, KvDataType.Float32, "788bcb82b1fd5c30")]
    [InlineData("gemma2-bf16", 58, KvDataType.BFloat16, "5870a0f33d70f23f")]
    [InlineData("gemma3-nested-bf16", 58, KvDataType.Float32, "8ed3cbfa9e5ebf72")]
    [InlineData("phi3-longrope-f32", 58, KvDataType.Float32, "97a202a408acb602")]
    [InlineData("qwen3moe-bf16", 58, KvDataType.Float32, "7bb063a612a25c8f")]
    public void Logits_are_the_same_bits_on_every_machine(string name, int length, KvDataType kvType, string hash, WeightFormat weights = WeightFormat.Auto)
    {
        int[] prompt = GoldenModels.Cases(name).Cases.Select(golden => golden.Prompt).First(prompt => prompt.Length == length);
        var results = Run(name, [prompt], new CpuRunnerOptions { Weights = weights, Threads = 1, MaxBatchTokens = 64, KvDataType = kvType }, new Random(0));
        var last = results[0].Logits[prompt.Length - 1];
        Assert.Equal(hash, Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes<float>(last)))[..16]);
    }

    /// <summary>Prompts of the goldens, up to five: some short, some over several pages.</summary>
    private static int[][] Prompts(string name) => [.. GoldenModels.Cases(name).Cases.Select(golden => golden.Prompt).Take(5)];

    /// <summary>The plainest arrangement: one sequence at a time, one token a step, one thread.</summary>
    private static Results[] RunTokenByToken(string name, int[][] prompts, VectorWidth width, KvDataType kvType, WeightFormat weights = WeightFormat.Auto)
    {
        var options = new CpuRunnerOptions { Weights = weights, Threads = 1, PageTokens = 16, MaxBatchTokens = 1, VectorWidth = width, KvDataType = kvType };
        using var runner = CpuModelRunner.Load(GoldenModels.Folder(name), options);
        var (pool, sequences) = PagedSequence.Deal(runner.Layout, prompts, 0, new Random(0));
        using (pool)
        {
            foreach (var sequence in sequences)
            {
                while (sequence.Left > 0)
                {
                    PagedSequence.Step(runner, pool, [(sequence, 1, true)]);
                }
            }

            return Collect(pool, sequences);
        }
    }

    private static Results[] Run(string name, int[][] prompts, CpuRunnerOptions options, Random random)
    {
        using var runner = CpuModelRunner.Load(GoldenModels.Folder(name), options);
        var (pool, sequences) = PagedSequence.Deal(runner.Layout, prompts, 0, random);
        using (pool)
        {
            PagedSequence.RunAtRandom(runner, pool, sequences, options.MaxBatchTokens, random);
            return Collect(pool, sequences);
        }
    }

    private static Results[] Collect(TestKvPool pool, PagedSequence[] sequences) =>
    [
        .. sequences.Select(sequence => new Results(
            sequence.Logits,
            [.. from layer in Enumerable.Range(0, pool.Layout.Layers) from position in Enumerable.Range(0, sequence.Computed) select sequence.Kv(pool, layer, position)])),
    ];

    private static void AssertSame(Results[] expected, Results[] actual, string arrangement)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.NotEmpty(actual[i].Logits);
            foreach (var (position, logits) in actual[i].Logits)
            {
                Assert.True(SameBits(expected[i].Logits[position], logits), $"logits of sequence {i} at {position} differ with {arrangement}");
            }

            Assert.Equal(expected[i].Kv.Length, actual[i].Kv.Length);
            for (int j = 0; j < expected[i].Kv.Length; j++)
            {
                Assert.True(expected[i].Kv[j].AsSpan().SequenceEqual(actual[i].Kv[j]), $"KV of sequence {i}, (layer, position) number {j} differs with {arrangement}");
            }
        }
    }

    private static bool SameBits(float[] left, float[] right) =>
        MemoryMarshal.AsBytes<float>(left).SequenceEqual(MemoryMarshal.AsBytes<float>(right));

    private sealed record Results(Dictionary<int, float[]> Logits, byte[][] Kv);
}
