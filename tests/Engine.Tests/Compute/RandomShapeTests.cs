using System.Text.Json.Nodes;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Reference;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>Whole models of odd shapes, with every option of the configuration, against the naive decoder.</summary>
public sealed class RandomShapeTests
{
    [Fact]
    public void Models_of_any_shape_agree_with_the_reference_decoder()
    {
        for (int seed = 0; seed < 18; seed++)
        {
            var random = new Random(seed);
            var json = RandomConfig(random);
            using var folder = ModelFolder.Random(Parse(json), json, new[] { "F32", "F16", "BF16" }[seed % 3], seed);
            var options = new CpuRunnerOptions { Threads = 1 + seed % 3, PageTokens = random.Next(1, 9), MaxBatchTokens = 40 };
            using var runner = CpuModelRunner.Load(folder.Path, options);
            var reference = ReferenceDecoder.Load(folder.Path);
            int[][] prompts = [.. Enumerable.Range(0, 3).Select(_ => RandomPrompt(random, runner.Model.VocabSize))];
            var (pool, sequences) = PagedSequence.Deal(runner.Layout, prompts, 0, random);
            using (pool)
            {
                PagedSequence.RunAtRandom(runner, pool, sequences, options.MaxBatchTokens, random);
                foreach (var sequence in sequences)
                {
                    var expected = reference.Logits(sequence.Tokens);
                    foreach (var (position, logits) in sequence.Logits)
                    {
                        double scale = expected[position].Max(Math.Abs);
                        Assert.All(logits, (logit, token) => Assert.True(
                            Math.Abs(logit - expected[position][token]) <= 2e-5 * scale,
                            $"seed {seed}, position {position}, token {token}: {logit} against {expected[position][token]} in {json}"));
                    }
                }
            }
        }
    }

    private static int[] RandomPrompt(Random random, int vocab) => [.. Enumerable.Range(0, random.Next(1, 30)).Select(_ => random.Next(vocab))];

    private static DecoderConfig Parse(JsonObject json)
    {
        using var folder = new ModelFolder();
        File.WriteAllText(folder.File("config.json"), json.ToJsonString());
        return ModelFamilies.Read(ConfigDocument.Read(folder.File("config.json")));
    }

    private static JsonObject RandomConfig(Random random)
    {
        int kvHeads = random.Next(1, 4);
        string architecture = new[] { "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM" }[random.Next(3)];
        return new JsonObject
        {
            ["architectures"] = new JsonArray(architecture),
            ["hidden_size"] = random.Next(3, 70),
            ["intermediate_size"] = random.Next(1, 90),
            ["num_hidden_layers"] = random.Next(1, 4),
            ["num_attention_heads"] = kvHeads * random.Next(1, 4),
            ["num_key_value_heads"] = kvHeads,
            ["head_dim"] = 8 * random.Next(1, 16),
            ["vocab_size"] = random.Next(2, 130),
            ["max_position_embeddings"] = 64,
            ["rms_norm_eps"] = 1e-5,
            ["tie_word_embeddings"] = random.Next(2) == 0,
            ["attention_bias"] = random.Next(2) == 0,
            ["mlp_bias"] = random.Next(2) == 0,
            ["sliding_window"] = random.Next(3) == 0 ? null : random.Next(1, 20),
            ["use_sliding_window"] = random.Next(2) == 0,
            ["max_window_layers"] = random.Next(3),
            ["rope_theta"] = 10000.0,
            ["rope_scaling"] = RandomScaling(random),
        };
    }

    private static JsonObject? RandomScaling(Random random) => random.Next(3) switch
    {
        0 => null,
        1 => new JsonObject { ["type"] = "linear", ["factor"] = 2.5 },
        _ => new JsonObject
        {
            ["rope_type"] = "llama3",
            ["factor"] = 8.0,
            ["low_freq_factor"] = 1.0,
            ["high_freq_factor"] = 4.0,
            ["original_max_position_embeddings"] = 16,
        },
    };
}
