namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// Reads a <see cref="DecoderConfig"/> from config.json by the architecture it names. A family that fits the description is one entry here.
/// Defaults of absent keys are those of the family's own configuration class in Hugging Face transformers.
/// </summary>
internal static class ModelFamilies
{
    private delegate DecoderConfig Family(DecoderConfig shared, ConfigDocument config);

    private static readonly SortedDictionary<string, Family> Families = new(StringComparer.Ordinal)
    {
        ["LlamaForCausalLM"] = (shared, config) => shared with
        {
            QkvBias = config.Flag("attention_bias", false),
            OutputBias = config.Flag("attention_bias", false),
            FeedForwardBias = config.Flag("mlp_bias", false),
        },
        ["MistralForCausalLM"] = (shared, config) => shared with
        {
            // Absent means the class's default of 4096; null means no window.
            LayerWindows = config.Has("sliding_window") || !config.Mentions("sliding_window")
                ? Windows(shared.Layers, config.Count("sliding_window", int.MaxValue, 4096), firstLayer: 0)
                : shared.LayerWindows,
        },
        ["Qwen2ForCausalLM"] = (shared, config) => shared with
        {
            QkvBias = true,
            LayerWindows = config.Flag("use_sliding_window", false) && config.Has("sliding_window")
                ? Windows(shared.Layers, config.Count("sliding_window", int.MaxValue), config.Count("max_window_layers", int.MaxValue, 28, min: 0))
                : shared.LayerWindows,
        },
    };

    /// <exception cref="ModelLoadException">Unsupported architecture or feature; a missing or impossible value.</exception>
    public static DecoderConfig Read(ConfigDocument config)
    {
        var architectures = config.Texts("architectures") ?? [];
        if (architectures.Count != 1 || !Families.TryGetValue(architectures[0], out var family))
        {
            throw config.Wrong("architectures", $"one of {string.Join(", ", Families.Keys)}", architectures.Count == 0 ? "none" : string.Join(", ", architectures));
        }

        var decoder = family(ReadShared(config, architectures[0]), config);
        return config.Texts("layer_types") is { } types ? decoder with { LayerWindows = OnlySlidingLayers(decoder.LayerWindows, types, config) } : decoder;
    }

    /// <summary>Newer configurations say of each layer whether the family's window applies to it.</summary>
    private static int[] OnlySlidingLayers(IReadOnlyList<int> windows, IReadOnlyList<string> types, ConfigDocument config)
    {
        if (types.Count != windows.Count || types.Any(type => type is not ("full_attention" or "sliding_attention")))
        {
            throw config.Wrong("layer_types", $"full_attention or sliding_attention for each of {windows.Count} layers", string.Join(", ", types));
        }

        return [.. windows.Select((window, layer) => types[layer] == "full_attention" ? int.MaxValue : window)];
    }

    private static DecoderConfig ReadShared(ConfigDocument config, string architecture)
    {
        RefuseUnsupported(config);
        int hidden = config.Count("hidden_size", 1 << 16);
        int layers = config.Count("num_hidden_layers", 1 << 10);
        int heads = config.Count("num_attention_heads", 1 << 10);
        int kvHeads = config.Count("num_key_value_heads", 1 << 10, heads);
        if (heads % kvHeads != 0)
        {
            throw config.Wrong("num_attention_heads", $"a multiple of num_key_value_heads ({kvHeads})", $"{heads}");
        }

        if (!config.Has("head_dim") && hidden % heads != 0)
        {
            throw config.Wrong("hidden_size", $"a multiple of num_attention_heads ({heads}), or head_dim given", $"{hidden}");
        }

        int headDim = config.Count("head_dim", 1 << 12, hidden / heads);
        if (headDim % 8 != 0)
        {
            throw config.Wrong("head_dim", "a multiple of 8", $"{headDim}");
        }

        return new DecoderConfig
        {
            Architecture = architecture,
            VocabSize = config.Count("vocab_size", 1 << 22),
            Hidden = hidden,
            Layers = layers,
            Heads = heads,
            KvHeads = kvHeads,
            HeadDim = headDim,
            FeedForward = config.Count("intermediate_size", 1 << 20),
            NormEpsilon = (float)config.Positive("rms_norm_eps", 1e-6),
            Rope = ReadRope(config),
            ContextLength = config.Count("max_position_embeddings", 1 << 24),
            LayerWindows = Windows(layers, int.MaxValue, 0),
            TiedEmbeddings = config.Flag("tie_word_embeddings", false),
        };
    }

    private static void RefuseUnsupported(ConfigDocument config)
    {
        if (config.Text("hidden_act") is { } activation && activation != "silu")
        {
            throw config.Wrong("hidden_act", "silu", activation);
        }

        if (config.Has("quantization_config"))
        {
            throw config.Wrong("quantization_config", "none: weights in F32, F16 or BF16", "quantized weights");
        }

        if (config.Positive("partial_rotary_factor", 1) is var share && share != 1)
        {
            throw config.Wrong("partial_rotary_factor", "1", $"{share}");
        }
    }

    private static RopeConfig ReadRope(ConfigDocument config)
    {
        // transformers 5 moved theta and scaling into one object; before, scaling was an object of its own.
        var parameters = config.Child("rope_parameters");
        var scaling = parameters ?? config.Child("rope_scaling");
        double theta = (parameters is not null && parameters.Has("rope_theta") ? parameters : config).Positive("rope_theta", 10000);
        string? type = scaling?.Text("rope_type") ?? scaling?.Text("type");
        return type switch
        {
            null when scaling is null => new RopeConfig(theta),
            "default" => new RopeConfig(theta),
            "linear" => new RopeConfig(theta, RopeScaling.Linear, scaling!.Positive("factor")),
            "llama3" => ReadLlama3(theta, scaling!),
            _ => throw scaling!.Wrong("rope_type", "default, linear or llama3", type ?? "no such key"),
        };
    }

    private static RopeConfig ReadLlama3(double theta, ConfigDocument scaling)
    {
        var rope = new RopeConfig(
            theta,
            RopeScaling.Llama3,
            scaling.Positive("factor"),
            scaling.Positive("low_freq_factor"),
            scaling.Positive("high_freq_factor"),
            scaling.Positive("original_max_position_embeddings"));
        return rope.HighFrequencyFactor > rope.LowFrequencyFactor
            ? rope
            : throw scaling.Wrong("high_freq_factor", $"above low_freq_factor ({rope.LowFrequencyFactor})", $"{rope.HighFrequencyFactor}");
    }

    private static int[] Windows(int layers, int window, int firstLayer) =>
        [.. Enumerable.Range(0, layers).Select(layer => layer < firstLayer ? int.MaxValue : window)];
}
