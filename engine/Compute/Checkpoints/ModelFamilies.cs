namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// The families that can be served, by the architecture that config.json names. A family says in what it differs from the plain decoder that
/// <see cref="SharedConfig"/> reads; defaults of absent keys are those of its own configuration class in Hugging Face transformers.
/// </summary>
internal static class ModelFamilies
{
    private delegate DecoderConfig Family(SharedConfig shared);

    private static readonly SortedDictionary<string, Family> Families = new(StringComparer.Ordinal)
    {
        ["LlamaForCausalLM"] = Llama,
        ["MistralForCausalLM"] = Mistral,
        ["MixtralForCausalLM"] = Mixtral,
        ["Qwen2ForCausalLM"] = Qwen2,
        ["Qwen3ForCausalLM"] = Qwen3,
        ["Qwen3MoeForCausalLM"] = Qwen3Moe,
        ["Gemma2ForCausalLM"] = Gemma2,
        ["Gemma3ForCausalLM"] = Gemma3,
        ["Gemma3ForConditionalGeneration"] = Gemma3Nested,
        ["Phi3ForCausalLM"] = Phi3,
    };

    /// <summary>Architectures that can be served.</summary>
    public static IEnumerable<string> Architectures => Families.Keys;

    /// <exception cref="ModelLoadException">Unsupported architecture or feature; a missing or impossible value.</exception>
    public static DecoderConfig Read(ConfigDocument config)
    {
        var architectures = config.Texts("architectures") ?? [];
        return architectures.Count == 1 && Families.TryGetValue(architectures[0], out var family)
            ? family(new SharedConfig(config, architectures[0]))
            : throw config.Wrong("architectures", $"one of {string.Join(", ", Families.Keys)}", architectures.Count == 0 ? "none" : string.Join(", ", architectures));
    }

    private static DecoderConfig Llama(SharedConfig shared)
    {
        var config = shared.Config;
        return shared.Read(new FamilyDefaults()) with
        {
            QkvBias = config.Flag("attention_bias", false),
            OutputBias = config.Flag("attention_bias", false),
            FeedForwardBias = config.Flag("mlp_bias", false),
        };
    }

    private static DecoderConfig Mistral(SharedConfig shared) =>
        shared.Read(new FamilyDefaults { KvHeads = 8 }).WithWindows(shared.Window(fallback: 4096), shared.LayersOfType("sliding_attention", _ => true));

    private static DecoderConfig Mixtral(SharedConfig shared)
    {
        var decoder = shared.Read(new FamilyDefaults { KvHeads = 8, Theta = 1e6, NormEpsilon = 1e-5 });
        var experts = shared.Experts(shared.Config.Count("num_local_experts", 1 << 12, 8), 2, decoder.FeedForward, renormalized: true);
        return decoder.WithWindows(shared.Window(fallback: null), _ => true).WithExperts(experts, _ => true) with
        {
            Names = decoder.Names with
            {
                Router = "block_sparse_moe.gate",
                Experts = "block_sparse_moe.experts.",
                ExpertGateUp = [".w1", ".w3"],
                ExpertDown = ".w2",
            },
        };
    }

    private static DecoderConfig Qwen2(SharedConfig shared) => shared.WithQwenWindows(shared.Read(new FamilyDefaults())) with { QkvBias = true };

    private static DecoderConfig Qwen3(SharedConfig shared) => shared.WithQwenWindows(Qwen3Attention(shared, new FamilyDefaults { HeadDim = 128 }));

    private static DecoderConfig Qwen3Moe(SharedConfig shared)
    {
        var config = shared.Config;
        var decoder = Qwen3Attention(shared, new FamilyDefaults { KvHeads = 4 });
        int? window = config.Flag("use_sliding_window", false) ? shared.Window(fallback: 4096) : null;
        int experts = config.Count(config.Has("num_experts") ? "num_experts" : "num_local_experts", 1 << 12, 128);
        int step = config.Count("decoder_sparse_step", 1 << 10, 1);
        var dense = config.Counts("mlp_only_layers");
        return decoder
            .WithWindows(window, _ => true)
            .WithExperts(
                shared.Experts(experts, 8, config.Count("moe_intermediate_size", 1 << 20, 768), config.Flag("norm_topk_prob", false)),
                layer => !dense.Contains(layer) && (layer + 1) % step == 0);
    }

    private static DecoderConfig Qwen3Attention(SharedConfig shared, FamilyDefaults defaults) => shared.Read(defaults) with
    {
        QueryKeyNorm = true,
        QkvBias = shared.Config.Flag("attention_bias", false),
        OutputBias = shared.Config.Flag("attention_bias", false),
    };

    private static DecoderConfig Gemma2(SharedConfig shared) =>
        Gemma(shared, new FamilyDefaults { AttentionSoftCap = 50, LogitSoftCap = 30 })
            .WithWindows(shared.Window(fallback: 4096), shared.LayersOfType("sliding_attention", layer => layer % 2 == 0));

    private static DecoderConfig Gemma3(SharedConfig shared)
    {
        var decoder = Gemma(shared, new FamilyDefaults { Theta = 1e6, VocabSize = 262208, ContextLength = 131072, RopePerType = true });
        int pattern = shared.Config.Count("sliding_window_pattern", 1 << 10, shared.Config.Count("_sliding_window_pattern", 1 << 10, 6));
        var isLocal = shared.LayersOfType("sliding_attention", layer => (layer + 1) % pattern != 0);
        var local = new RopeReader(shared.Config, decoder.HeadDim, 1e4).ReadType("sliding_attention", "rope_local_base_freq", 1e4, scaled: false);
        return decoder.WithWindows(shared.Window(fallback: 4096), isLocal).WithRopes(isLocal, local) with
        {
            QueryKeyNorm = true,

            // Its configuration has the key, and no implementation of it ever used it: norms of queries and keys took its place.
            AttentionSoftCap = null,
        };
    }

    /// <summary>The text half of a model that also sees images: its configuration is an object of its own, its weights have a prefix.</summary>
    private static DecoderConfig Gemma3Nested(SharedConfig shared)
    {
        var decoder = Gemma3(new SharedConfig(shared.Config.Child("text_config", required: true)!, shared.Architecture));
        return decoder with { Names = decoder.Names with { Prefix = "language_model.model.", Output = "language_model.lm_head" } };
    }

    private static DecoderConfig Gemma(SharedConfig shared, FamilyDefaults defaults)
    {
        var config = shared.Config;
        if (config.Flag("use_bidirectional_attention", false))
        {
            throw config.Wrong("use_bidirectional_attention", "false: only causal attention is computed", "true");
        }

        var decoder = shared.Read(defaults with
        {
            Heads = 8,
            KvHeads = 4,
            HeadDim = 256,
            Tied = true,
            Activation = Activation.GeluTanh,
            ActivationKey = "hidden_activation",
        });
        return decoder with
        {
            QkvBias = config.Flag("attention_bias", false),
            OutputBias = config.Flag("attention_bias", false),
            NormsAddOne = true,
            PostNorms = true,
            ScaledEmbeddings = true,
            AttentionScale = (float)(1 / Math.Sqrt(config.PositiveSingle("query_pre_attn_scalar", 256))),
            AttentionSoftCap = shared.Cap("attn_logit_softcapping", defaults.AttentionSoftCap),
            LogitSoftCap = shared.Cap("final_logit_softcapping", defaults.LogitSoftCap),
            Names = decoder.Names with { FeedForwardNorm = "pre_feedforward_layernorm" },
        };
    }

    private static DecoderConfig Phi3(SharedConfig shared)
    {
        var decoder = shared.Read(new FamilyDefaults { NormEpsilon = 1e-5, ContextLength = 4096 });
        return decoder.WithWindows(shared.Window(fallback: null), _ => true) with
        {
            Names = decoder.Names with { Qkv = ["self_attn.qkv_proj"], GateUp = ["mlp.gate_up_proj"] },
        };
    }
}
