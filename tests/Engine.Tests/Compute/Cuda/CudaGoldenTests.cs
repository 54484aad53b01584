using ScriptedServe.Engine.Compute;
using ScriptedServe.KvTransport;
using ScriptedServe.Tests.Support;
using Xunit.Abstractions;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>
/// Whole models by the CUDA runner and the real kernels, in the emulation, against what Hugging Face's code computes for them in float64. What remains is the rounding of activations to 16 bits.
/// </summary>
public sealed class CudaGoldenTests(ITestOutputHelper output)
{
    private const int LongestPrompt = 24, Steps = 5;

    [RequiresTheory(Need.CppCompiler)]
    [InlineData("llama31-bf16", null, 0.04)]
    [InlineData("llama31-tied-f32", null, 0.06)]
    [InlineData("gemma2-bf16", null, 0.04)]
    [InlineData("gemma3-nested-bf16", KvDataType.Float32, 0.04)]
    [InlineData("qwen2-bf16-sharded", null, 0.04)]
    [InlineData("qwen3-bf16", null, 0.04)]
    [InlineData("qwen3-f32", null, 0.06)]
    [InlineData("phi3-longrope-f32", null, 0.06)]
    [InlineData("mistral-f16-swa", null, 0.005)]
    [InlineData("mistral-f32", null, 0.06)]
    [InlineData("qwen2-window-f16", null, 0.005)]
    [InlineData("phi3-f16", null, 0.005)]
    [InlineData("mixtral-bf16", null, 0.06)]
    [InlineData("mixtral-f32", null, 0.06)]
    [InlineData("qwen3moe-bf16", null, 0.06)]
    [InlineData("qwen3moe-f32", null, 0.06)]
    public async Task Log_probabilities_are_the_expected_ones_but_for_rounding_however_steps_are_cut(string name, KvDataType? kv, double tolerance)
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        var random = new Random(1);
        var cases = GoldenModels.Cases(name).Cases.Where(golden => golden.Prompt.Length <= LongestPrompt && golden.ExpectedIds.Length >= Steps).Take(3).ToArray();
        Assert.NotEmpty(cases);
        using (var runner = CudaModels.Load(gpu, name, kv))
        {
            var (pool, sequences) = CudaModels.Deal(runner, [.. cases.Select(golden => golden.Prompt)], Steps, random);
            using (pool)
            {
                PagedSequence.RunAtRandom(runner, pool, sequences, CudaModels.MaxBatchTokens, random);
                var differences = new List<double>();
                for (int step = 0; step < Steps; step++)
                {
                    for (int i = 0; i < cases.Length; i++)
                    {
                        var logits = sequences[i].Logits[sequences[i].Tokens.Count - 1];
                        double max = logits.Max(), log = max + Math.Log(logits.Sum(value => Math.Exp(value - max)));
                        differences.AddRange(cases[i].Top[step].Select(top => Math.Abs(top.LogProbability - (logits[top.Id] - log))));
                        sequences[i].Append(cases[i].ExpectedIds[step], runner.Model.ShortContext);
                    }

                    PagedSequence.Step(runner, pool, [.. sequences.Select(sequence => (sequence, sequence.Left, true))]);
                }

                double[] sizes = [.. differences.Order()];
                output.WriteLine($"{name}: {sizes.Length} log-probabilities, median difference {sizes[sizes.Length / 2]:E1}, largest {sizes[^1]:E1}");
                Assert.InRange(sizes[sizes.Length / 2], 0, tolerance);
                Assert.InRange(sizes[^1], 0, 8 * tolerance);
            }
        }

        Assert.Equal(0, gpu.Live);
    }

    [RequiresTheory(Need.CppCompiler)]
    [InlineData(WeightFormat.Int8, 0.3)]
    [InlineData(WeightFormat.Float8, 0.6)]
    public async Task Weights_of_8_bits_move_log_probabilities_by_little(WeightFormat weights, double tolerance)
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        var golden = GoldenModels.Cases("llama31-bf16").Cases.Where(golden => golden.Prompt.Length <= LongestPrompt).Take(4).ToArray();
        using var runner = CudaModels.Load(gpu, "llama31-bf16", weights: weights);
        var (pool, sequences) = CudaModels.Deal(runner, [.. golden.Select(golden => golden.Prompt)], 1, new Random(4));
        using var _ = pool;
        PagedSequence.Step(runner, pool, [.. sequences.Select(sequence => (sequence, sequence.Left, true))]);
        var differences = new List<double>();
        for (int i = 0; i < golden.Length; i++)
        {
            var logits = sequences[i].Logits[sequences[i].Tokens.Count - 1];
            double max = logits.Max(), log = max + Math.Log(logits.Sum(value => Math.Exp(value - max)));
            differences.AddRange(golden[i].Top[0].Select(top => Math.Abs(top.LogProbability - (logits[top.Id] - log))));
        }

        output.WriteLine($"{weights}: mean difference {differences.Average():E1}, largest {differences.Max():E1}");
        Assert.InRange(differences.Average(), 1e-4, tolerance);
    }

    [RequiresFact(Need.CppCompiler)]
    public async Task A_decoded_token_has_the_same_logits_alone_and_in_any_batch()
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        using var runner = CudaModels.Load(gpu, "llama31-bf16");
        int[][] prompts = [[1, 2, 3, 4, 5, 6, 7], [9, 8, 7], [20, 30, 40, 50, 60]];
        var (pool, sequences) = CudaModels.Deal(runner, prompts, 4, new Random(2));
        using var _ = pool;
        PagedSequence.RunAtRandom(runner, pool, sequences, CudaModels.MaxBatchTokens, new Random(3));
        float[] Decode(params int[] batch)
        {
            var logits = new float[batch.Length * runner.Model.VocabSize];
            // The last token again, over the KV of those before it.
            runner.Forward(
                [.. batch.Select(i => new StepSlice(new[] { prompts[i][^1] }, prompts[i].Length - 1, sequences[i].Pages, WantsLogits: true))], pool, logits, observer: null);
            return logits;
        }

        int vocab = runner.Model.VocabSize;
        var alone = Decode(0);
        Assert.Equal(alone, Decode(0, 1, 2)[..vocab]);
        Assert.Equal(alone, Decode(2, 0)[vocab..]);
        int captures = gpu.Captures;
        Assert.Equal(alone, Decode(1, 0)[vocab..]);
        Assert.Equal(captures, gpu.Captures);
    }

    [RequiresTheory(Need.CppCompiler)]
    [InlineData("llama31-bf16")]
    [InlineData("mistral-f16-swa")]
    [InlineData("qwen3moe-bf16")]
    [InlineData("mixtral-bf16", WeightFormat.Int8)]
    [InlineData("qwen3-bf16", WeightFormat.Float8)]
    public async Task A_token_has_the_same_logits_bit_for_bit_decoded_or_in_a_prompt_however_it_is_cut(string name, WeightFormat weights = WeightFormat.Auto)
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        using var runner = CudaModels.Load(gpu, name, weights: weights);
        int vocab = runner.Model.VocabSize;
        int[] tokens = [.. Enumerable.Range(0, 23).Select(i => (i * 37 + 5) % vocab)];
        float[] After(params int[] cuts)
        {
            var (pool, sequences) = CudaModels.Deal(runner, [tokens], 1, new Random(cuts.Length));
            using (pool)
            {
                foreach (int count in cuts)
                {
                    PagedSequence.Step(runner, pool, [(sequences[0], count, true)]);
                }

                return sequences[0].Logits[tokens.Length - 1];
            }
        }

        // 17 rows and more are products of many; one row is decoded.
        var whole = After(23);
        Assert.Equal(whole, After(5, 17, 1));
        Assert.Equal(whole, After(1, 1, 1, 12, 1, 1, 6));
    }

    [RequiresFact(Need.CppCompiler)]
    public async Task Attention_that_is_gone_through_in_several_runs_has_the_same_bits()
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        var results = new List<float[]>();
        // With a long context, there is room for so many units that they and the pages are sent in two copies.
        foreach (var (units, context) in ((int?, int?)[])[(null, null), (3, null), (null, 16384)])
        {
            using var runner = CudaModels.Load(gpu, "llama31-bf16", context: context, units: units);
            var (pool, sequences) = CudaModels.Deal(runner, [[.. Enumerable.Range(3, 130)], [.. Enumerable.Range(5, 20)], [.. Enumerable.Range(7, 90)], [9, 10]], extraTokens: 1, new Random(3));
            using (pool)
            {
                PagedSequence.RunAtRandom(runner, pool, sequences, CudaModels.MaxBatchTokens, new Random(4));
                foreach (var sequence in sequences)
                {
                    sequence.Append(11, runner.Model.ShortContext);
                }

                PagedSequence.Step(runner, pool, [.. sequences.Select(sequence => (sequence, sequence.Left, true))]);
                results.AddRange(sequences.Select(sequence => sequence.Logits[sequence.Tokens.Count - 1]));
            }
        }

        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(results[i], results[4 + i]);
            Assert.Equal(results[i], results[8 + i]);
        }
    }
}
