namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>What a family's configuration class has for keys that config.json lacks; null where the key must be given.</summary>
internal sealed record FamilyDefaults
{
    public int? VocabSize { get; init; }

    public int? Heads { get; init; }

    /// <summary>Null: as many as query heads.</summary>
    public int? KvHeads { get; init; }

    /// <summary>Null: hidden_size / num_attention_heads.</summary>
    public int? HeadDim { get; init; }

    public int? ContextLength { get; init; }

    public double Theta { get; init; } = 1e4;

    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary>Layers that see a window rotate unlike those that see all; the family sets it for both.</summary>
    public bool RopePerType { get; init; }

    public bool Tied { get; init; }

    public double? AttentionSoftCap { get; init; }

    public double? LogitSoftCap { get; init; }

    public Activation Activation { get; init; } = Activation.Silu;

    public string ActivationKey { get; init; } = "hidden_act";
}

/// <summary>Reads what the families' configurations have in common, and the parts that several of them share.</summary>
internal sealed class SharedConfig(ConfigDocument config, string architecture)
{
    public ConfigDocument Config { get; } = config;

    public string Architecture { get; } = architecture;

    /// <summary>A decoder without windows, experts or anything else that is not everyone's.</summary>
    public DecoderConfig Read(FamilyDefaults defaults)
    {
        if (Config.Has("quantization_config"))
        {
            throw Config.Wrong("quantization_config", "none: weights in F32, F16 or BF16", "quantized weights");
        }

        int hidden = Config.Count("hidden_size", 1 << 16);
        int layers = Config.Count("num_hidden_layers", 1 << 10);
        int heads = Config.Count("num_attention_heads", 1 << 10, defaults.Heads);
        int kvHeads = Config.Count("num_key_value_heads", 1 << 10, Config.Mentions("num_key_value_heads") ? heads : defaults.KvHeads ?? heads);
        if (heads % kvHeads != 0)
        {
            throw Config.Wrong("num_attention_heads", $"a multiple of num_key_value_heads ({kvHeads})", $"{heads}");
        }

        int headDim = HeadDim(hidden, heads, defaults.HeadDim);
        int context = Config.Count("max_position_embeddings", 1 << 24, defaults.ContextLength);
        var rope = new RopeReader(Config, headDim, defaults.Theta);
        var block = new BlockConfig(defaults.RopePerType ? rope.ReadType("full_attention", "rope_theta", defaults.Theta, scaled: true) : rope.Read());
        _ = LayersOfType("full_attention", _ => true);
        return new DecoderConfig
        {
            Architecture = Architecture,
            VocabSize = Config.Count("vocab_size", 1 << 22, defaults.VocabSize),
            Hidden = hidden,
            Heads = heads,
            KvHeads = kvHeads,
            HeadDim = headDim,
            FeedForward = Config.Count("intermediate_size", 1 << 20),
            NormEpsilon = Config.PositiveSingle("rms_norm_eps", defaults.NormEpsilon),
            ContextLength = rope.ContextLength(context),
            Blocks = [.. Enumerable.Repeat(block, layers)],
            AttentionScale = (float)(1 / Math.Sqrt(headDim)),
            Activation = ReadActivation(defaults),
            TiedEmbeddings = Config.Flag("tie_word_embeddings", defaults.Tied),
        };
    }

    /// <summary>sliding_window: null if it is written as null; the fallback, which may be null for none, if it is not written.</summary>
    public int? Window(int? fallback) =>
        Config.Has("sliding_window") ? Config.Count("sliding_window", int.MaxValue) : Config.Mentions("sliding_window") ? null : fallback;

    /// <summary>Whether a layer is of a type: newer configurations list the types, older ones have a rule.</summary>
    public Func<int, bool> LayersOfType(string type, Func<int, bool> rule)
    {
        if (Config.Texts("layer_types") is not { } types)
        {
            return rule;
        }

        int layers = Config.Count("num_hidden_layers", 1 << 10);
        return types.Count == layers && types.All(each => each is "full_attention" or "sliding_attention")
            ? layer => types[layer] == type
            : throw Config.Wrong("layer_types", $"full_attention or sliding_attention for each of {layers} layers", string.Join(", ", types));
    }

    /// <summary>Windows only where use_sliding_window is true, and from layer max_window_layers on.</summary>
    public DecoderConfig WithQwenWindows(DecoderConfig decoder)
    {
        int? window = Config.Flag("use_sliding_window", false) ? Window(fallback: 4096) : null;
        int first = Config.Count("max_window_layers", int.MaxValue, 28, min: 0);
        return decoder.WithWindows(window, LayersOfType("sliding_attention", layer => layer >= first));
    }

    public ExpertsConfig Experts(int count, int chosenFallback, int feedForward, bool renormalized)
    {
        int chosen = Config.Count("num_experts_per_tok", 1 << 12, chosenFallback);
        return chosen <= count
            ? new ExpertsConfig(count, chosen, feedForward, renormalized)
            : throw Config.Wrong("num_experts_per_tok", $"at most the number of experts ({count})", $"{chosen}");
    }

    /// <summary>A soft cap; null if it is written as null.</summary>
    public float? Cap(string key, double? fallback) =>
        Config.Has(key) ? Config.PositiveSingle(key) : Config.Mentions(key) ? null : (float?)fallback;

    private int HeadDim(int hidden, int heads, int? fallback)
    {
        bool given = Config.Has("head_dim") || (fallback is not null && !Config.Mentions("head_dim"));
        if (!given && hidden % heads != 0)
        {
            throw Config.Wrong("hidden_size", $"a multiple of num_attention_heads ({heads}), or head_dim given", $"{hidden}");
        }

        int headDim = Config.Count("head_dim", 1 << 12, given ? fallback : hidden / heads);
        return headDim % 2 == 0 ? headDim : throw Config.Wrong("head_dim", "an even number", $"{headDim}");
    }

    private Activation ReadActivation(FamilyDefaults defaults) => Config.Text(defaults.ActivationKey) switch
    {
        null => defaults.Activation,
        "silu" or "swish" => Activation.Silu,
        "gelu_pytorch_tanh" or "gelu_new" => Activation.GeluTanh,
        var other => throw Config.Wrong(defaults.ActivationKey, "silu or gelu_pytorch_tanh", other),
    };
}

/// <summary>Changes of a decoder's blocks.</summary>
internal static class DecoderConfigExtensions
{
    /// <summary>Gives the layers that <paramref name="applies"/> names a window, if there is one.</summary>
    public static DecoderConfig WithWindows(this DecoderConfig decoder, int? window, Func<int, bool> applies) => decoder with
    {
        Blocks = [.. decoder.Blocks.Select((block, layer) => window is { } tokens && applies(layer) ? block with { Window = tokens } : block)],
    };

    public static DecoderConfig WithRopes(this DecoderConfig decoder, Func<int, bool> applies, RopeConfig rope) => decoder with
    {
        Blocks = [.. decoder.Blocks.Select((block, layer) => applies(layer) ? block with { Rope = rope } : block)],
    };

    public static DecoderConfig WithExperts(this DecoderConfig decoder, ExpertsConfig experts, Func<int, bool> applies) => decoder with
    {
        Blocks = [.. decoder.Blocks.Select((block, layer) => applies(layer) ? block with { Experts = experts } : block)],
    };
}
