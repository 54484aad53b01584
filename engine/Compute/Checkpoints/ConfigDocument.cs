using System.Text.Json;

namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// A JSON object of a model folder, read key by key with range checks. Every error names the file, the key's path, what was expected
/// and what was found. A key whose value is null counts as absent.
/// </summary>
internal sealed class ConfigDocument
{
    private const long MaxFileBytes = 64L << 20;

    private readonly JsonElement _root;
    private readonly string _prefix;

    private ConfigDocument(string path, JsonElement root, string prefix)
    {
        FilePath = path;
        _root = root;
        _prefix = prefix;
    }

    public string FilePath { get; }

    /// <exception cref="ModelLoadException">Missing, unreadable, over 64 MiB, or not a JSON object.</exception>
    public static ConfigDocument Read(string path)
    {
        try
        {
            long length = ModelFile.Length(path, "a JSON file");
            if (length is 0 or > MaxFileBytes)
            {
                throw new ModelLoadException(path, "file", $"a file of 1 to {MaxFileBytes} bytes", $"{length} bytes");
            }

            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            ReadStrings(document.RootElement);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new ConfigDocument(path, document.RootElement.Clone(), "")
                : throw new ModelLoadException(path, "file", "a JSON object", $"{document.RootElement.ValueKind}");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            throw new ModelLoadException(path, "file", "a JSON object", error.Message, error);
        }
    }

    public bool Has(string key) => TryGet(key, out _);

    /// <summary>Whether the key is written, null or not: some families give null a meaning of its own.</summary>
    public bool Mentions(string key) => _root.TryGetProperty(key, out _);

    /// <summary>The properties in the order of the file.</summary>
    public IEnumerable<(string Name, JsonElement Value)> Properties() => _root.EnumerateObject().Select(property => (property.Name, property.Value));

    /// <summary>An integer in [<paramref name="min"/>, <paramref name="max"/>]; <paramref name="fallback"/> if absent, an error if that is null.</summary>
    public int Count(string key, int max, int? fallback = null, int min = 1)
    {
        if (!TryGet(key, out var value))
        {
            return fallback ?? throw Wrong(key, $"an integer in {min}..{max}", "no such key");
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= min && number <= max
            ? number
            : throw Wrong(key, $"an integer in {min}..{max}", value.GetRawText());
    }

    /// <summary>A finite number above 0; <paramref name="fallback"/> if absent, an error if that is null.</summary>
    public double Positive(string key, double? fallback = null)
    {
        if (!TryGet(key, out var value))
        {
            return fallback ?? throw Wrong(key, "a number above 0", "no such key");
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number) && number > 0
            ? number
            : throw Wrong(key, "a number above 0", value.GetRawText());
    }

    /// <summary>As <see cref="Positive"/>, and neither too large nor too small for f32.</summary>
    public float PositiveSingle(string key, double? fallback = null)
    {
        float number = (float)Positive(key, fallback);
        return number > 0 && float.IsFinite(number) ? number : throw Wrong(key, "a number above 0 that f32 can hold", $"{Positive(key, fallback)}");
    }

    /// <summary>A list of exactly <paramref name="count"/> finite numbers above 0.</summary>
    public IReadOnlyList<double> PositiveNumbers(string key, int count)
    {
        if (!TryGet(key, out var value))
        {
            throw Wrong(key, $"{count} numbers above 0", "no such key");
        }

        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() != count)
        {
            throw Wrong(key, $"{count} numbers above 0", value.ValueKind == JsonValueKind.Array ? $"{value.GetArrayLength()} values" : value.GetRawText());
        }

        return
        [
            .. value.EnumerateArray().Select(item =>
                item.ValueKind == JsonValueKind.Number && item.TryGetDouble(out double number) && double.IsFinite(number) && number > 0
                    ? number
                    : throw Wrong(key, $"{count} numbers above 0", item.GetRawText())),
        ];
    }

    /// <summary>A list of integers of at least 0, empty if absent.</summary>
    public IReadOnlyList<int> Counts(string key) => !TryGet(key, out var value) ? []
        : value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int number) && number >= 0)
            ? [.. value.EnumerateArray().Select(item => item.GetInt32())]
            : throw Wrong(key, "a list of integers of at least 0", value.GetRawText());

    public bool Flag(string key, bool fallback) => !TryGet(key, out var value) ? fallback : value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong(key, "true or false", value.GetRawText()),
    };

    public string? Text(string key) => !TryGet(key, out var value) ? null
        : value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(key, "a string", value.GetRawText());

    /// <summary>A list of strings, or null if absent.</summary>
    public IReadOnlyList<string>? Texts(string key)
    {
        if (!TryGet(key, out var value))
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
            ? [.. value.EnumerateArray().Select(item => item.GetString()!)]
            : throw Wrong(key, "a list of strings", value.GetRawText());
    }

    /// <summary>Token ids written as one integer or a list, each in [0, <paramref name="vocabSize"/>); null if absent.</summary>
    public IReadOnlyList<int>? TokenIds(string key, int vocabSize)
    {
        if (!TryGet(key, out var value))
        {
            return null;
        }

        var ids = new List<int>();
        foreach (var item in value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().AsEnumerable() : [value])
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt32(out int id) || id < 0 || id >= vocabSize)
            {
                throw Wrong(key, $"token ids in 0..{vocabSize - 1}", value.GetRawText());
            }

            ids.Add(id);
        }

        return ids;
    }

    /// <summary>A nested object, or null if absent and not required.</summary>
    public ConfigDocument? Child(string key, bool required = false)
    {
        if (!TryGet(key, out var value))
        {
            return required ? throw Wrong(key, "an object", "no such key") : null;
        }

        return value.ValueKind == JsonValueKind.Object
            ? new ConfigDocument(FilePath, value, $"{_prefix}{key}.")
            : throw Wrong(key, "an object", value.GetRawText());
    }

    /// <summary>The error for a key's value.</summary>
    public ModelLoadException Wrong(string key, string expected, string found) => new(FilePath, $"'{_prefix}{key}'", expected, found);

    /// <summary>Decodes every string once: half a surrogate pair is reported here (InvalidOperationException) and not at some later use.</summary>
    private static void ReadStrings(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.String:
                _ = element.GetString();
                break;
            case JsonValueKind.Array:
                foreach (var item in element.EnumerateArray())
                {
                    ReadStrings(item);
                }

                break;
            case JsonValueKind.Object:
                foreach (var property in element.EnumerateObject())
                {
                    _ = property.Name;
                    ReadStrings(property.Value);
                }

                break;
        }
    }

    private bool TryGet(string key, out JsonElement value) => _root.TryGetProperty(key, out value) && value.ValueKind != JsonValueKind.Null;
}
