using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>JSON in and out of templates.</summary>
internal static class JinjaJson
{
    /// <summary>A request's JSON as a template's value. Integers stay integers, however large.</summary>
    public static object? FromJson(JsonNode? node)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        switch (node)
        {
            case null:
                return null;
            case JsonArray array:
                return new JinjaList([.. array.Select(FromJson)]);
            case JsonObject members:
                var dict = new JinjaDict();
                foreach (var (name, member) in members)
                {
                    dict.Set(name, FromJson(member));
                }

                return dict;
            default:
                return FromValue(node.AsValue());
        }
    }

    /// <summary>Python's json.dumps.</summary>
    /// <param name="indent">What a level is indented by; null for one line.</param>
    public static string Dump(object? value, bool asciiOnly = false, string? indent = null, bool sortKeys = false, string? itemSeparator = null, string? keySeparator = null)
    {
        var writer = new Writer(asciiOnly, indent, sortKeys, itemSeparator ?? (indent is null ? ", " : ","), keySeparator ?? ": ");
        writer.Write(value, 0);
        return writer.ToString();
    }

    private static object? FromValue(JsonValue value)
    {
        switch (value.GetValueKind())
        {
            case JsonValueKind.True:
                return true;
            case JsonValueKind.False:
                return false;
            case JsonValueKind.Null:
                return null;
            case JsonValueKind.Number:
                var text = value.ToJsonString();
                return text.AsSpan().IndexOfAny(".eE") >= 0 ? double.Parse(text, CultureInfo.InvariantCulture)
                    : long.TryParse(text, CultureInfo.InvariantCulture, out var number) ? number
                    : BigInteger.Parse(text, CultureInfo.InvariantCulture);
            default:
                return value.ToString();
        }
    }

    private sealed class Writer(bool asciiOnly, string? indent, bool sortKeys, string itemSeparator, string keySeparator)
    {
        private readonly StringBuilder json = new();

        public override string ToString() => json.ToString();

        public void Write(object? value, int level)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            switch (value)
            {
                case string text:
                    Quote(text);
                    break;
                case JinjaList list:
                    Bracket('[', ']', list.Items.Count, level, list.Items, item => Write(item, level + 1));
                    break;
                case JinjaDict dict:
                    var entries = sortKeys ? dict.Entries.OrderBy(entry => JinjaText.Str(entry.Key), StringComparer.Ordinal) : dict.Entries;
                    Bracket('{', '}', dict.Count, level, entries, entry =>
                    {
                        Quote(entry.Key as string ?? Scalar(entry.Key));
                        json.Append(keySeparator);
                        Write(entry.Value, level + 1);
                    });
                    break;
                default:
                    json.Append(Scalar(value));
                    break;
            }
        }

        private static string Scalar(object? value) => value switch
        {
            null => "null",
            true => "true",
            false => "false",
            long or BigInteger => string.Create(CultureInfo.InvariantCulture, $"{value}"),
            double.PositiveInfinity => "Infinity",
            double.NegativeInfinity => "-Infinity",
            double.NaN => "NaN",
            double number => JinjaText.Float(number),
            _ => throw new JinjaException($"tojson: {JinjaText.TypeName(value)} cannot be written as JSON"),
        };

        private void Bracket<T>(char open, char close, int count, int level, IEnumerable<T> items, Action<T> write)
        {
            json.Append(open);
            var first = true;
            foreach (var item in items)
            {
                json.Append(first ? "" : itemSeparator);
                NewLine(level + 1);
                write(item);
                first = false;
            }

            if (count > 0)
            {
                NewLine(level);
            }

            json.Append(close);
        }

        private void NewLine(int level)
        {
            if (indent is not null)
            {
                json.Append('\n').Insert(json.Length, indent, level);
            }
        }

        private void Quote(string text)
        {
            json.Append('"');
            foreach (var character in text)
            {
                _ = character switch
                {
                    '"' => json.Append("\\\""),
                    '\\' => json.Append(@"\\"),
                    '\n' => json.Append(@"\n"),
                    '\r' => json.Append(@"\r"),
                    '\t' => json.Append(@"\t"),
                    '\f' => json.Append(@"\f"),
                    '\b' => json.Append(@"\b"),
                    < ' ' => json.Append(CultureInfo.InvariantCulture, $@"\u{(int)character:x4}"),
                    > '~' when asciiOnly => json.Append(CultureInfo.InvariantCulture, $@"\u{(int)character:x4}"),
                    _ => json.Append(character),
                };
            }

            json.Append('"');
        }
    }
}
