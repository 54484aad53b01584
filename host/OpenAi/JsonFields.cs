using System.Globalization;
using System.Text.Json;

namespace ScriptedServe.Host.OpenAi;

/// <summary>
/// Typed access to the fields of one JSON object. A field that is absent or null reads as null; one of a wrong type or outside its range
/// is a 400 that names it, what it must be, and what it is. Fields nobody asks for are ignored.
/// </summary>
internal readonly struct JsonFields(JsonElement element, string prefix = "")
{
    private const int ShownCharacters = 60;

    public string Name(string field) => prefix + field;

    public JsonElement? Any(string field) =>
        element.TryGetProperty(field, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    public string? String(string field) =>
        Any(field) is not { } value ? null : value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(field, "a string", value);

    public bool? Boolean(string field) =>
        Any(field) is not { } value ? null
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Wrong(field, "true or false", value);

    public JsonElement? Object(string field) =>
        Any(field) is not { } value ? null : value.ValueKind == JsonValueKind.Object ? value : throw Wrong(field, "an object", value);

    public JsonElement? Array(string field) =>
        Any(field) is not { } value ? null : value.ValueKind == JsonValueKind.Array ? value : throw Wrong(field, "an array", value);

    /// <summary>A number in [min, max], compared as the float it becomes.</summary>
    public float? Number(string field, float min, float max) =>
        Any(field) is not { } value ? null
        : TryFloat(value, out var number) && number >= min && number <= max ? number
        : throw Wrong(field, $"a number between {Text(min)} and {Text(max)}", value);

    /// <summary>A number in (0, max].</summary>
    public float? PositiveNumber(string field, float max) =>
        Any(field) is not { } value ? null
        : TryFloat(value, out var number) && number > 0 && number <= max ? number
        : throw Wrong(field, $"a number above 0 and at most {Text(max)}", value);

    /// <summary>A whole number in [min, max]; 3.0 counts as one.</summary>
    public int? Integer(string field, int min, int max = int.MaxValue)
    {
        if (Any(field) is not { } value)
        {
            return null;
        }

        return TryInteger(value, out var number) && number >= min && number <= max
            ? (int)number
            : throw Wrong(field, max == int.MaxValue ? $"an integer of at least {min}" : $"an integer between {min} and {max}", value);
    }

    /// <summary>Any 64-bit integer, signed or not, as its bits.</summary>
    public ulong? Seed(string field)
    {
        if (Any(field) is not { } value)
        {
            return null;
        }

        if (value.ValueKind == JsonValueKind.Number && value.TryGetUInt64(out var unsigned))
        {
            return unsigned;
        }

        return TryInteger(value, out var signed) ? unchecked((ulong)signed) : throw Wrong(field, "a 64-bit integer", value);
    }

    public OpenAiException Wrong(string field, string expected, JsonElement value) =>
        OpenAiException.Invalid(Name(field), $"'{Name(field)}' must be {expected}, got {Show(value)}.", "invalid_value");

    public OpenAiException Missing(string field, string expected) =>
        OpenAiException.Invalid(Name(field), $"'{Name(field)}' is required: {expected}.", "missing_required_parameter");

    public static bool TryInteger(JsonElement value, out long number)
    {
        number = 0;
        if (value.ValueKind != JsonValueKind.Number)
        {
            return false;
        }

        if (value.TryGetInt64(out number))
        {
            return true;
        }

        // Some clients write whole numbers as 3.0 or 3e2.
        if (!value.TryGetDouble(out var real) || real != Math.Floor(real) || Math.Abs(real) > 1L << 53)
        {
            return false;
        }

        number = (long)real;
        return true;
    }

    public static bool TryFloat(JsonElement value, out float number)
    {
        number = 0;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out var real))
        {
            return false;
        }

        number = (float)real;
        return float.IsFinite(number);
    }

    /// <summary>The value as the client wrote it, cut to a readable length.</summary>
    public static string Show(JsonElement value)
    {
        var text = value.GetRawText();
        if (text.Length <= ShownCharacters)
        {
            return text;
        }

        var end = char.IsHighSurrogate(text[ShownCharacters - 1]) ? ShownCharacters - 1 : ShownCharacters;
        return text[..end] + "…";
    }

    private static string Text(float number) => number.ToString(CultureInfo.InvariantCulture);
}
