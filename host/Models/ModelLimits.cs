using System.Text.Json;

namespace ScriptedServe.Host.Models;

/// <summary>The numbers of a config.json that bound a request. What published configurations leave out is what their family takes for granted.</summary>
/// <param name="ContextLength">Prompt and generated tokens together.</param>
internal readonly record struct ModelLimits(int ContextLength, int VocabSize)
{
    private const int LongestContext = 1 << 24;

    /// <param name="path">For errors.</param>
    /// <exception cref="ModelFolderException">A number is missing, or is none.</exception>
    public static ModelLimits Read(JsonElement config, string path)
    {
        if (config.ValueKind != JsonValueKind.Object)
        {
            throw new ModelFolderException($"{path}: a JSON object is expected, this is {config.ValueKind}.");
        }

        // Models of text and images keep the text part's numbers in a section of their own.
        var text = Object(config, "text_config") ?? config;
        var (context, vocab) = Defaults(Text(text, "model_type") ?? Text(config, "model_type"));
        return new ModelLimits(Lengthened(text, Whole(text, "max_position_embeddings", context, path)), Whole(text, "vocab_size", vocab, path));
    }

    private static (int? ContextLength, int? VocabSize) Defaults(string? type) => type switch
    {
        "gemma3" or "gemma3_text" => (131072, 262208),
        "phi3" => (4096, null),
        _ => (null, null),
    };

    /// <summary>The context that YaRN makes of the one in the configuration.</summary>
    private static int Lengthened(JsonElement config, int positions)
    {
        if ((Object(config, "rope_parameters") ?? Object(config, "rope_scaling")) is not { } scaling
            || (Text(scaling, "rope_type") ?? Text(scaling, "type")) != "yarn" || scaling.TryGetProperty("short_factor", out _))
        {
            return positions;
        }

        var length = (Number(scaling, "factor") ?? 1) * (Number(scaling, "original_max_position_embeddings") ?? positions);
        return (int)Math.Clamp(length, positions, Math.Max(positions, LongestContext));
    }

    private static int Whole(JsonElement config, string name, int? fallback, string path)
    {
        if (fallback is { } number && (!config.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null))
        {
            return number;
        }

        return config.TryGetProperty(name, out value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out number) && number > 0
            ? number
            : throw new ModelFolderException($"{path}: {name} is missing or no whole number above 0.");
    }

    private static JsonElement? Object(JsonElement config, string name) =>
        config.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Object ? value : null;

    private static string? Text(JsonElement config, string name) =>
        config.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static double? Number(JsonElement config, string name) =>
        config.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
}
