namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// Reads rotary embeddings from config.json in all the spellings that transformers has had: theta beside an object rope_scaling, or both in one
/// object rope_parameters, which may have an object for each type of layer; the kind as rope_type or type.
/// </summary>
/// <param name="config">Where the keys are.</param>
/// <param name="headDim">Elements of a head, of which partial_rotary_factor says how many are rotated.</param>
/// <param name="thetaFallback">The family's own rope_theta.</param>
internal sealed class RopeReader(ConfigDocument config, int headDim, double thetaFallback)
{
    private const string Kinds = "default, linear, dynamic, yarn, llama3 or longrope";

    private readonly int _maxPositions = config.Count("max_position_embeddings", 1 << 24, 1 << 24);

    /// <summary>The rotation of all layers.</summary>
    public RopeConfig Read()
    {
        var parameters = config.Child("rope_parameters");
        return IsPerType(parameters)
            ? throw config.Wrong("rope_parameters", "one object for all layers", "one for each type of layer")
            : Read(parameters, config.Child("rope_scaling"), "rope_theta", thetaFallback);
    }

    /// <summary>The rotation of the layers of one type, where types differ.</summary>
    /// <param name="thetaKey">Where older configurations have this type's theta.</param>
    /// <param name="scaled">Older configurations' rope_scaling applies to this type.</param>
    public RopeConfig ReadType(string layerType, string thetaKey, double theta, bool scaled)
    {
        var parameters = config.Child("rope_parameters");
        return Read(
            IsPerType(parameters) ? parameters!.Child(layerType) : scaled ? parameters : null, scaled ? config.Child("rope_scaling") : null, thetaKey, theta);
    }

    /// <summary>The context that a scaling of positions makes of the one in config.json.</summary>
    /// <param name="positions">max_position_embeddings.</param>
    public int ContextLength(int positions)
    {
        var scaling = config.Child("rope_parameters") ?? config.Child("rope_scaling");
        return scaling is not null && Kind(scaling) == "yarn" && !scaling.Has("short_factor")
            ? (int)Math.Clamp(scaling.Positive("factor") * scaling.Positive("original_max_position_embeddings", positions), positions, 1 << 24)
            : positions;
    }

    private RopeConfig Read(ConfigDocument? parameters, ConfigDocument? scaling, string thetaKey, double fallback)
    {
        double theta = parameters is not null && parameters.Has("rope_theta")
            ? parameters.Positive("rope_theta")
            : config.Positive(thetaKey, fallback);
        if (theta <= 1)
        {
            throw config.Wrong(thetaKey, "a number above 1", $"{theta}");
        }

        int dimensions = Dimensions(parameters);
        var source = parameters ?? scaling;
        return source is null ? RopeConfig.Plain(theta, dimensions) : Kind(source) switch
        {
            // Without a kind rope_parameters is plain; rope_scaling is there for its kind alone.
            "default" => RopeConfig.Plain(theta, dimensions),
            null when parameters is not null => RopeConfig.Plain(theta, dimensions),

            // Scales only sequences longer than max_position_embeddings, which are not served.
            "dynamic" => source.Positive("factor") > 0 ? RopeConfig.Plain(theta, dimensions) : throw source.Wrong("factor", "a number above 0", "0"),
            "linear" => RopeConfig.Linear(theta, dimensions, source.Positive("factor")),
            "llama3" => ReadLlama3(theta, dimensions, source),
            // Early Phi-3 folders call the factors of longrope su or yarn.
            "yarn" when !source.Has("short_factor") => ReadYarn(theta, dimensions, source),
            "longrope" or "su" or "yarn" => ReadLong(theta, dimensions, source),
            var kind => throw source.Wrong("rope_type", Kinds, kind ?? "no such key"),
        };
    }

    private static bool IsPerType(ConfigDocument? parameters) =>
        parameters is not null && (parameters.Has("full_attention") || parameters.Has("sliding_attention"));

    private static string? Kind(ConfigDocument scaling) => scaling.Text("rope_type") ?? scaling.Text("type");

    private int Dimensions(ConfigDocument? parameters)
    {
        var source = parameters is not null && parameters.Has("partial_rotary_factor") ? parameters : config;
        double share = source.Positive("partial_rotary_factor", 1);
        int dimensions = (int)Math.Min(headDim * share, 1 << 20);
        return share <= 1 && dimensions >= 2 && dimensions % 2 == 0
            ? dimensions
            : throw source.Wrong("partial_rotary_factor", $"at most 1, and an even number of a head's {headDim} elements", $"{share}");
    }

    private static RopeConfig ReadLlama3(double theta, int dimensions, ConfigDocument scaling)
    {
        var (low, high) = (scaling.Positive("low_freq_factor"), scaling.Positive("high_freq_factor"));
        return high > low
            ? RopeConfig.Llama3(theta, dimensions, scaling.Positive("factor"), low, high, scaling.Positive("original_max_position_embeddings"))
            : throw scaling.Wrong("high_freq_factor", $"above low_freq_factor ({low})", $"{high}");
    }

    private RopeConfig ReadYarn(double theta, int dimensions, ConfigDocument scaling)
    {
        double factor = scaling.Positive("factor");
        double Magnitude(double scale) => factor <= 1 ? 1 : 0.1 * scale * Math.Log(factor) + 1;
        double magnitude = scaling.Has("mscale") && scaling.Has("mscale_all_dim")
            ? Magnitude(scaling.Positive("mscale")) / Magnitude(scaling.Positive("mscale_all_dim"))
            : Magnitude(1);
        return RopeConfig.Yarn(
            theta,
            dimensions,
            factor,
            scaling.Positive("beta_fast", 32),
            scaling.Positive("beta_slow", 1),
            scaling.Positive("original_max_position_embeddings", _maxPositions),
            scaling.Flag("truncate", true),
            scaling.Positive("attention_factor", magnitude));
    }

    private RopeConfig ReadLong(double theta, int dimensions, ConfigDocument scaling)
    {
        // Phi-3 has the original context beside rope_scaling, and means the ratio of the two lengths whatever factor says.
        bool beside = config.Has("original_max_position_embeddings");
        int original = (beside ? config : scaling).Count("original_max_position_embeddings", 1 << 24, _maxPositions, min: 2);
        double ratio = (double)_maxPositions / original;
        double factor = beside ? ratio : scaling.Positive("factor", ratio);
        double magnitude = factor <= 1 ? 1 : Math.Sqrt(1 + Math.Log(factor) / Math.Log(original));
        return RopeConfig.Long(
            theta,
            dimensions,
            scaling.PositiveNumbers("short_factor", dimensions / 2),
            scaling.PositiveNumbers("long_factor", dimensions / 2),
            original,
            scaling.Positive("attention_factor", magnitude));
    }
}
