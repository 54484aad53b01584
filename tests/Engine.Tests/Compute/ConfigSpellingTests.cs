using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>config.json as older and newer versions of transformers write it, and as it comes without what its family takes for granted.</summary>
public sealed class ConfigSpellingTests
{
    /// <summary>A folder's config, what is done to it in two ways, and that both mean the same.</summary>
    public static TheoryData<string, string, string> Same { get; } = new()
    {
        {
            "llama31-bf16",
            """{"rope_theta": 5e5, "rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 32}}""",
            """{"rope_theta": null, "rope_scaling": null, "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 32}}"""
        },
        { "llama31-bf16", """{"rope_theta": 5e5, "rope_scaling": null}""", """{"rope_theta": null, "rope_scaling": null, "rope_parameters": {"rope_theta": 5e5}}""" },
        { "llama31-bf16", """{"rope_scaling": null}""", """{"rope_scaling": {"rope_type": "default"}}""" },
        { "llama31-bf16", """{"rope_scaling": null}""", """{"rope_scaling": {"type": "dynamic", "factor": 4}}""" },
        { "llama31-bf16", """{"dtype": "bfloat16"}""", """{"dtype": null, "torch_dtype": "bfloat16"}""" },
        { "llama31-bf16", """{"head_dim": 8, "num_attention_heads": 6}""", """{"head_dim": null, "num_attention_heads": 6}""" },
        { "llama31-bf16", """{"num_key_value_heads": 6}""", """{"num_key_value_heads": null}""" },
        { "llama31-bf16", """{"tie_word_embeddings": false}""", """{"tie_word_embeddings": null}""" },
        { "llama31-bf16", """{"attention_bias": false, "mlp_bias": false}""", """{"attention_bias": null, "mlp_bias": null}""" },
        { "qwen3-f32", """{"head_dim": 128}""", """{"head_dim": "absent"}""" },
        { "mistral-f32", """{"sliding_window": 4096, "num_key_value_heads": 8, "num_attention_heads": 8}""", """{"sliding_window": "absent", "num_key_value_heads": "absent", "num_attention_heads": 8}""" },
        { "qwen2-window-f16", """{"use_sliding_window": false}""", """{"use_sliding_window": "absent", "sliding_window": 9}""" },
        { "qwen2-window-f16", """{"use_sliding_window": false}""", """{"use_sliding_window": true, "sliding_window": null}""" },
        { "qwen2-window-f16", """{"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}""", """{"layer_types": null, "max_window_layers": 1}""" },
        { "qwen2-window-f16", """{"use_sliding_window": false}""", """{"layer_types": null, "max_window_layers": "absent"}""" },
        { "gemma2-f32", """{"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}""", """{"layer_types": "absent"}""" },
        { "gemma2-f32", """{"attn_logit_softcapping": 50, "final_logit_softcapping": 30, "query_pre_attn_scalar": 256}""", """{"attn_logit_softcapping": "absent", "final_logit_softcapping": "absent", "query_pre_attn_scalar": "absent"}""" },
        { "gemma2-f32", """{"hidden_activation": "gelu_pytorch_tanh"}""", """{"hidden_activation": null, "hidden_act": "gelu"}""" },
        { "gemma2-f32", """{"tie_word_embeddings": true}""", """{"tie_word_embeddings": "absent"}""" },
        { "gemma3-f32", """{"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}""", """{"layer_types": null, "sliding_window_pattern": 2}""" },
        {
            "gemma3-f32",
            """{"rope_theta": 2e6, "rope_local_base_freq": 3000, "rope_scaling": {"rope_type": "linear", "factor": 8}}""",
            """{"rope_theta": null, "rope_local_base_freq": null, "rope_scaling": null, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 2e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 3000}}}"""
        },
        { "gemma3-f32", """{"rope_theta": 1e6, "rope_local_base_freq": 1e4}""", """{"rope_theta": "absent", "rope_local_base_freq": "absent"}""" },
        {
            "phi3-longrope-f32",
            """{"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1], "long_factor": [1, 2, 3, 4, 5, 6]}}""",
            """{"rope_scaling": {"type": "su", "short_factor": [1, 1, 1, 1, 1, 1], "long_factor": [1, 2, 3, 4, 5, 6]}}"""
        },
        {
            "phi3-longrope-f32",
            """{"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1], "long_factor": [1, 2, 3, 4, 5, 6]}}""",
            """{"rope_scaling": {"type": "yarn", "short_factor": [1, 1, 1, 1, 1, 1], "long_factor": [1, 2, 3, 4, 5, 6]}}"""
        },
        {
            "phi3-longrope-f32",
            """{"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1], "long_factor": [1, 2, 3, 4, 5, 6]}}""",
            """{"rope_scaling": null, "rope_theta": null, "partial_rotary_factor": null, "original_max_position_embeddings": null, "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 40, "short_factor": [1, 1, 1, 1, 1, 1], "long_factor": [1, 2, 3, 4, 5, 6]}}"""
        },
        { "qwen3moe-f32", """{"norm_topk_prob": false, "decoder_sparse_step": 1, "mlp_only_layers": []}""", """{"norm_topk_prob": "absent", "decoder_sparse_step": "absent", "mlp_only_layers": null}""" },
        { "mixtral-f32", """{"rope_theta": 1e6, "sliding_window": null}""", """{"rope_theta": "absent", "sliding_window": "absent"}""" },
    };

    [Theory]
    [MemberData(nameof(Same))]
    public void Two_spellings_mean_the_same(string model, string one, string other) => Assert.Equal(Describe(Edited(model, one)), Describe(Edited(model, other)));

    [Fact]
    public void What_is_spelled_differently_and_means_something_else_differs()
    {
        string config = Describe(Edited("llama31-bf16", "{}"));
        Assert.NotEqual(config, Describe(Edited("llama31-bf16", """{"rope_theta": 5e5, "rope_scaling": null}""")));
        Assert.NotEqual(config, Describe(Edited("llama31-bf16", """{"num_key_value_heads": null}""")));
    }

    /// <summary>As the smallest of the published configurations are written: nearly all is left to the family's defaults.</summary>
    [Fact]
    public void A_nested_configuration_may_leave_nearly_all_to_the_familys_defaults()
    {
        var config = RandomConfigs.Parse(JsonNode.Parse("""
            {
              "architectures": ["Gemma3ForConditionalGeneration"],
              "text_config": {
                "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"}
              }
            }
            """)!.AsObject());
        Assert.Equal((262208, 8, 4, 256, 131072), (config.VocabSize, config.Heads, config.KvHeads, config.HeadDim, config.ContextLength));
        Assert.True(config is { TiedEmbeddings: true, QueryKeyNorm: true, NormsAddOne: true, AttentionSoftCap: null, LogitSoftCap: null });
        Assert.Equal(1 / 16f, config.AttentionScale);
        Assert.Equal(Enumerable.Range(0, 34).Select(layer => layer % 6 == 5 ? int.MaxValue : 1024), config.Blocks.Select(block => block.Window));
        Assert.Equal(1 / 8.0, config.Blocks[5].Rope.Frequencies[0]);
        Assert.Equal(1.0, config.Blocks[4].Rope.Frequencies[0]);
        Assert.Equal(Math.Pow(10000, -2.0 / 256), config.Blocks[4].Rope.Frequencies[1], 1e-12);
    }

    /// <summary>The first pairs turn more than 32 times in the original context, the last less than once; the magnitude is 0.1 ln 4 + 1.</summary>
    [Fact]
    public void Yarn_keeps_fast_pairs_divides_slow_ones_and_lengthens_the_context()
    {
        var config = Edited("qwen3-f32", """{"head_dim": 128, "rope_theta": 1e6, "max_position_embeddings": 40960, "rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32768}}""");
        var rope = config.Blocks[0].Rope;
        Assert.Equal(131072, config.ContextLength);
        Assert.Equal(1.0, rope.Frequencies[0]);
        Assert.Equal(Math.Pow(1e6, -126.0 / 128) / 4, rope.Frequencies[63], 1e-15);
        Assert.Equal(0.1 * Math.Log(4) + 1, rope.Magnitude, 1e-12);
    }

    [Theory]
    [InlineData(null, "[2, 106]", "7", new[] { 2, 106 })]
    [InlineData(null, null, "[7, 8]", new[] { 7, 8 })]
    [InlineData(null, "null", "7", new[] { 7 })]
    [InlineData("""{"eos_token_id": [1, 3]}""", "[2, 106]", "7", new[] { 1, 3 })]
    [InlineData("""{"eos_token_id": 9}""", null, null, new[] { 9 })]
    [InlineData("""{"eos_token_id": null}""", "5", null, new[] { 5 })]
    [InlineData("""{"temperature": 1}""", null, null, new int[0])]
    public void End_tokens_are_those_of_the_generation_config_then_of_the_model_then_of_its_text_half(string? generation, string? model, string? text, int[] expected)
    {
        using var folder = ModelFolder.CopyOf("gemma3-nested-bf16");
        folder.EditConfig(config =>
        {
            Set(config, model);
            Set(config["text_config"]!.AsObject(), text);
        });
        if (generation is not null)
        {
            File.WriteAllText(folder.File("generation_config.json"), generation);
        }

        using var runner = CpuModelRunner.Load(folder.Path, new CpuRunnerOptions { Threads = 1, MaxBatchTokens = 1 });
        Assert.Equal(expected, runner.Model.EndTokenIds);

        static void Set(JsonObject config, string? value)
        {
            config.Remove("eos_token_id");
            if (value is not null)
            {
                config["eos_token_id"] = JsonNode.Parse(value);
            }
        }
    }

    private static DecoderConfig Edited(string model, string changes)
    {
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(GoldenModels.Folder(model), "config.json")))!.AsObject();
        foreach (var (key, value) in JsonNode.Parse(changes)!.AsObject())
        {
            if (value is JsonValue text && text.TryGetValue(out string? word) && word == "absent")
            {
                config.Remove(key);
            }
            else
            {
                config[key] = value?.DeepClone();
            }
        }

        return RandomConfigs.Parse(config);
    }

    /// <summary>All of a configuration in words.</summary>
    private static string Describe(DecoderConfig config) => JsonSerializer.Serialize(config) + JsonSerializer.Serialize(config.Names);
}
