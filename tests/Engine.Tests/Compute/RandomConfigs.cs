using System.Text.Json.Nodes;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>Configurations of small models of every architecture, of odd shapes and with every option of the family on or off.</summary>
internal static class RandomConfigs
{
    public static TheoryData<string> Architectures { get; } = [.. ModelFamilies.Architectures];

    /// <summary>A folder with random weights of the type.</summary>
    /// <param name="kvHeads">With ranks; by default more, as many, or fewer.</param>
    /// <param name="ranks">The model can be divided among this many, whatever its weights are kept as; 1 for any shape.</param>
    public static ModelFolder Folder(string architecture, string type, Random random, int ranks = 1, int? kvHeads = null)
    {
        var json = Of(architecture, random, ranks, kvHeads);
        return ModelFolder.Random(Parse(json), json, type, random.Next());
    }

    public static DecoderConfig Parse(JsonObject json)
    {
        using var folder = new ModelFolder();
        File.WriteAllText(folder.File("config.json"), json.ToJsonString());
        return ModelFamilies.Read(ConfigDocument.Read(folder.File("config.json")));
    }

    public static JsonObject Of(string architecture, Random random, int ranks = 1, int? kvHeadsOfRanks = null)
    {
        int kvHeads = random.Next(1, 4);
        int experts = random.Next(2, 7);
        bool phi = architecture.StartsWith("Phi3", StringComparison.Ordinal);
        int headDim = random.Next(2) == 0 ? 8 * random.Next(1, phi ? 5 : 16) : 2 * random.Next(1, 40);
        var config = new JsonObject
        {
            ["architectures"] = new JsonArray(architecture),
            ["hidden_size"] = random.Next(3, 70),
            ["intermediate_size"] = random.Next(1, 90),
            ["num_hidden_layers"] = random.Next(1, 4),
            ["num_attention_heads"] = kvHeads * random.Next(1, 4),
            ["num_key_value_heads"] = kvHeads,
            ["head_dim"] = headDim,
            ["vocab_size"] = random.Next(2, 130),
            ["max_position_embeddings"] = 64,
            ["rms_norm_eps"] = 1e-5,
            ["tie_word_embeddings"] = Coin(random),
            ["attention_bias"] = Coin(random),
            ["mlp_bias"] = Coin(random),
            ["sliding_window"] = random.Next(3) == 0 ? null : random.Next(1, 20),
            ["use_sliding_window"] = Coin(random),
            ["max_window_layers"] = random.Next(3),
            ["sliding_window_pattern"] = random.Next(1, 4),
            ["rope_theta"] = 10000.0,
            ["rope_local_base_freq"] = 1000.0,
            ["rope_scaling"] = phi ? LongRope(random, headDim) : RandomScaling(random),
            ["query_pre_attn_scalar"] = random.Next(4, 100),
            ["attn_logit_softcapping"] = Coin(random) ? null : 1.5,
            ["final_logit_softcapping"] = Coin(random) ? null : 3.0,
            [architecture.StartsWith("Mixtral", StringComparison.Ordinal) ? "num_local_experts" : "num_experts"] = experts,
            ["num_experts_per_tok"] = random.Next(1, experts + 1),
            ["moe_intermediate_size"] = random.Next(1, 40),
            ["norm_topk_prob"] = Coin(random),
            ["decoder_sparse_step"] = random.Next(1, 3),
            ["mlp_only_layers"] = Coin(random) ? new JsonArray() : new JsonArray(1),
            ["original_max_position_embeddings"] = phi ? random.Next(8, 40) : null,
        };
        if (ranks > 1)
        {
            MakeDivisible(config, ranks, kvHeadsOfRanks, random);
        }

        return architecture == "Gemma3ForConditionalGeneration"
            ? new JsonObject { ["architectures"] = new JsonArray(architecture), ["text_config"] = config }
            : config;
    }

    /// <summary>Whole groups of 32 inputs for each rank, of widths that need not be multiples of the ranks' number.</summary>
    private static void MakeDivisible(JsonObject config, int ranks, int? given, Random random)
    {
        int kvHeads = given ?? new[] { 1, ranks % 2 == 0 ? ranks / 2 : 1, ranks, 2 * ranks }[random.Next(4)];
        config["num_key_value_heads"] = kvHeads;
        config["num_attention_heads"] = Math.Max(kvHeads, ranks) * random.Next(1, 3);
        config["head_dim"] = 32;
        config["intermediate_size"] = (32 * ranks) - 31 + random.Next(40);
        config["moe_intermediate_size"] = (32 * ranks) - 31 + random.Next(40);
        config["vocab_size"] = (16 * ranks) - 15 + random.Next(70);
        if (config["rope_scaling"] is JsonObject scaling && scaling["short_factor"] is not null)
        {
            config["rope_scaling"] = LongRope(random, 32);
        }
    }

    private static bool Coin(Random random) => random.Next(2) == 0;

    private static JsonObject LongRope(Random random, int headDim)
    {
        JsonArray Factors() => [.. Enumerable.Range(0, headDim / 2).Select(_ => (JsonNode)(1 + 4 * random.NextDouble()))];
        return new JsonObject { ["type"] = "longrope", ["short_factor"] = Factors(), ["long_factor"] = Factors() };
    }

    private static JsonObject? RandomScaling(Random random) => random.Next(4) switch
    {
        0 => null,
        1 => new JsonObject { ["type"] = "linear", ["factor"] = 2.5 },
        2 => new JsonObject { ["rope_type"] = "yarn", ["factor"] = 4.0, ["original_max_position_embeddings"] = 32 },
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
