using System.Text.Json;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A value in a tokenizer.json together with where it stands, so that every error can name the place.</summary>
internal readonly struct JsonSpot(JsonElement value, string path, string file)
{
    public JsonElement Value => value;

    /// <summary>Reads a whole file; what the reader makes must not keep the spots.</summary>
    /// <param name="file">What to call it in errors.</param>
    /// <exception cref="TokenizerException">It is no JSON, or the reader refuses it.</exception>
    public static T Parse<T>(ReadOnlyMemory<byte> json, string file, Func<JsonSpot, T> read)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return read(new JsonSpot(document.RootElement, "$", file));
        }
        catch (JsonException error)
        {
            throw new TokenizerException($"{file}: not valid JSON: {error.Message}", error);
        }
        catch (InvalidOperationException error)
        {
            // The reader's answer to strings that are no Unicode, such as half a surrogate pair.
            throw new TokenizerException($"{file}: a string in it is not valid Unicode: {error.Message}", error);
        }
    }

    public JsonSpot this[string name] =>
        Optional(name) ?? throw Error($"a field \"{name}\"", value.ValueKind == JsonValueKind.Object ? "none" : Found());

    /// <summary>Null where the field is absent or null.</summary>
    public JsonSpot? Optional(string name)
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            throw Error("an object", Found());
        }

        return value.TryGetProperty(name, out var member) && member.ValueKind != JsonValueKind.Null ? new JsonSpot(member, $"{path}.{name}", file) : null;
    }

    public JsonSpot Member(JsonProperty member) => new(member.Value, $"{path}.{member.Name}", file);

    public string Text() => value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Error("a string", Found());

    public bool Flag() => value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Error("true or false", Found()),
    };

    public bool Flag(string name, bool otherwise) => Optional(name)?.Flag() ?? otherwise;

    /// <summary>An integer of 0..<paramref name="max"/>.</summary>
    public int Count(int max) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= 0 && number <= max
        ? number
        : throw Error($"an integer of 0..{max}", Found());

    public IEnumerable<JsonSpot> Items()
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Error("an array", Found());
        }

        var (where, name) = (path, file);
        return value.EnumerateArray().Select((item, index) => new JsonSpot(item, $"{where}[{index}]", name));
    }

    /// <summary>The one character of a string.</summary>
    public char Character() => Text() is { Length: 1 } text ? text[0] : throw Error("a string of one character", Found());

    public TokenizerException Unsupported(string what, string supported) => new($"{file}: {path}: {what} is not supported; supported: {supported}.");

    public TokenizerException Error(string expected, string found) => new($"{file}: {path}: expected {expected}, found {found}.");

    public string Found()
    {
        if (value.ValueKind == JsonValueKind.Undefined)
        {
            return "nothing";
        }

        var text = value.GetRawText();
        return text.Length <= 60 ? text : string.Concat(text.AsSpan(0, 57), "...");
    }
}
