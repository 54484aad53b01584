using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.RegularExpressions;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>What can follow '|'. Those over lists are in <see cref="ListFilters"/>.</summary>
internal static class JinjaFilters
{
    private static readonly Dictionary<string, Func<object?, JinjaArguments, object?>> Filters = new(ListFilters.All, StringComparer.Ordinal)
    {
        ["string"] = (value, _) => JinjaText.Str(value),
        ["safe"] = (value, _) => value,
        ["format"] = (value, arguments) => PythonFormat.Percent(Text(value, arguments), arguments.Named.Count > 0 ? Named(arguments) : new JinjaList(arguments.Positional, isTuple: true), arguments.Budget),
        ["urlencode"] = (value, arguments) => UrlEncode(value, arguments),
        ["escape"] = (value, arguments) => Escape(Text(value, arguments)),
        ["trim"] = (value, arguments) => StringMethods.Strip(Text(value, arguments), arguments.Get(0, "chars"), start: true, end: true),
        ["lower"] = (value, arguments) => PythonCase.Lower(Text(value, arguments)),
        ["upper"] = (value, arguments) => PythonCase.Upper(Text(value, arguments)),
        ["capitalize"] = (value, arguments) => PythonCase.Capitalize(Text(value, arguments)),
        ["title"] = (value, arguments) => Title(Text(value, arguments)),
        ["replace"] = (value, arguments) => StringMethods.Replace(
            Text(value, arguments), JinjaText.Str(arguments.Require(0, "old")), JinjaText.Str(arguments.Require(1, "new")), arguments.Count(2, "count", -1), arguments.Budget),
        ["indent"] = Indent,
        ["center"] = (value, arguments) => StringMethods.Pad(Text(value, arguments), arguments.Count(0, "width", 80), ' ', StringMethods.PadSide.Both, arguments.Budget),
        ["truncate"] = Truncate,
        ["wordcount"] = (value, arguments) => (long)Regex.Count(Text(value, arguments), @"\w+"),
        ["default"] = (value, arguments) => value is Undefined || (arguments.Flag(1, "boolean") && !JinjaOperators.IsTrue(value)) ? arguments.Get(0, "default_value", "") : value,
        ["tojson"] = ToJson,
        ["int"] = (value, arguments) => Integer(value, arguments.Get(0, "default", 0L), arguments.Count(1, "base", 10)),
        ["float"] = (value, arguments) => Float(value, arguments.Get(0, "default", 0.0)),
        ["abs"] = (value, _) => value is double number ? Math.Abs(number) : JinjaOperators.Shrink(BigInteger.Abs(JinjaOperators.ToInteger(value))),
        ["round"] = (value, arguments) => Round(value, arguments),
        ["attr"] = (value, arguments) => JinjaMembers.Attribute(value, arguments.Text(0, "name")),
    };

    private static readonly Dictionary<string, string> OtherNames = new(StringComparer.Ordinal)
    {
        ["d"] = "default",
        ["e"] = "escape",
        ["forceescape"] = "escape",
        ["count"] = "length",
    };

    public static bool Exists(string name) => Filters.ContainsKey(OtherNames.GetValueOrDefault(name, name));

    /// <exception cref="JinjaException">There is no such filter.</exception>
    public static Func<object?, JinjaArguments, object?> Find(string name) => Filters.GetValueOrDefault(OtherNames.GetValueOrDefault(name, name))
        ?? throw new JinjaException($"there is no filter '{name}'; there are: {string.Join(", ", Filters.Keys.Order(StringComparer.Ordinal))}");

    private static string Text(object? value, JinjaArguments arguments)
    {
        var text = JinjaText.Str(value);
        arguments.Budget.Charge(text.Length);
        return text;
    }

    private static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal)
        .Replace(">", "&gt;", StringComparison.Ordinal).Replace("'", "&#39;", StringComparison.Ordinal).Replace("\"", "&#34;", StringComparison.Ordinal);

    private static string Title(string text) =>
        Regex.Replace(text, @"[^-\s({\[<]+", word =>
        {
            var first = Rune.GetRuneAt(word.Value, 0).ToString();
            return PythonCase.Upper(first) + PythonCase.Lower(word.Value[first.Length..]);
        });

    private static string Indent(object? value, JinjaArguments arguments)
    {
        var margin = arguments.Get(0, "width", 4L) is string given ? given : new string(' ', Math.Clamp(arguments.Count(0, "width", 4), 0, 1000));
        var lines = Text(value, arguments).Split('\n');
        arguments.Budget.Charge(lines.Sum(line => (long)line.Length + margin.Length));
        var blankToo = arguments.Flag(2, "blank");
        var firstToo = arguments.Flag(1, "first");
        return string.Join('\n', lines.Select((line, index) =>
            (index == 0 ? firstToo : blankToo || line.Length > 0) ? margin + line : line));
    }

    private static string Truncate(object? value, JinjaArguments arguments)
    {
        var text = Text(value, arguments);
        var (length, end, leeway) = (arguments.Count(0, "length", 255), arguments.Text(2, "end", "..."), arguments.Count(3, "leeway", 5));
        if (text.Length <= (long)length + leeway)
        {
            return text;
        }

        if (length < end.Length)
        {
            throw new JinjaException($"truncate: length {length} leaves no room for '{end}'");
        }

        var cut = text[..(length - end.Length)];
        var lastSpace = arguments.Flag(1, "killwords") ? -1 : cut.LastIndexOf(' ');
        return (lastSpace < 0 ? cut : cut[..lastSpace]) + end;
    }

    /// <summary>As Hugging Face defines it: json.dumps without escaping for HTML, and not limited to ASCII unless asked.</summary>
    private static string ToJson(object? value, JinjaArguments arguments)
    {
        var indent = arguments.Get(1, "indent") switch
        {
            null => null,
            string margin => margin,
            _ => new string(' ', Math.Clamp(arguments.Count(1, "indent", 0), 0, 100)),
        };
        var separators = arguments.Get(2, "separators") as JinjaList;
        var json = JinjaJson.Dump(
            value, arguments.Flag(0, "ensure_ascii"), indent, arguments.Flag(3, "sort_keys"),
            separators is { Items: [string item, _] } ? item : null, separators is { Items: [_, string key] } ? key : null);
        arguments.Budget.Charge(json.Length);
        return json;
    }

    private static object? Integer(object? value, object? otherwise, int radix) => value switch
    {
        string text when radix != 10 => Based(text.Trim().Replace("_", "", StringComparison.Ordinal), radix) is { } number ? JinjaOperators.Shrink(number) : otherwise,
        double number when double.IsFinite(number) => JinjaOperators.Shrink(new BigInteger(Math.Truncate(number))),
        string { Length: < 1000 } text when BigInteger.TryParse(text.Trim().Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) => JinjaOperators.Shrink(number),
        string text when double.TryParse(text, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) => JinjaOperators.Shrink(new BigInteger(Math.Truncate(number))),
        bool or long or BigInteger => JinjaOperators.Shrink(JinjaOperators.ToInteger(value)),
        _ => otherwise,
    };

    /// <summary>Digits of a radix of 2..36 with the prefix it may have, or null.</summary>
    private static BigInteger? Based(string text, int radix)
    {
        var sign = text.StartsWith('-') ? -1 : 1;
        var digits = text.TrimStart('-', '+').ToLowerInvariant();
        digits = radix switch
        {
            16 when digits.StartsWith("0x", StringComparison.Ordinal) => digits[2..],
            8 when digits.StartsWith("0o", StringComparison.Ordinal) => digits[2..],
            2 when digits.StartsWith("0b", StringComparison.Ordinal) => digits[2..],
            _ => digits,
        };
        var values = digits.Select(digit => char.IsAsciiDigit(digit) ? digit - '0' : char.IsAsciiLetterLower(digit) ? digit - 'a' + 10 : 99).ToArray();
        return values.Length is > 0 and < 1000 && values.All(value => value < radix)
            ? values.Aggregate(BigInteger.Zero, (sum, value) => (sum * radix) + value) * sign
            : null;
    }

    private static JinjaDict Named(JinjaArguments arguments)
    {
        var dict = new JinjaDict();
        foreach (var (name, value) in arguments.Named)
        {
            dict.Set(name, value);
        }

        return dict;
    }

    /// <summary>A text with its slashes kept, or the pairs of a dictionary as a query.</summary>
    private static string UrlEncode(object? value, JinjaArguments arguments) => value is JinjaDict dict
        ? string.Join('&', dict.Entries.Select(entry => $"{Quoted(entry.Key)}={Quoted(entry.Value)}"))
        : Uri.EscapeDataString(Text(value, arguments)).Replace("%2F", "/", StringComparison.Ordinal);

    private static string Quoted(object? value) => Uri.EscapeDataString(JinjaText.Str(value)).Replace("%20", "+", StringComparison.Ordinal);

    private static object? Float(object? value, object? otherwise) => value switch
    {
        string text when double.TryParse(text, CultureInfo.InvariantCulture, out var number) => number,
        _ when JinjaOperators.IsNumber(value) => JinjaOperators.ToDouble(value),
        _ => otherwise,
    };

    private static object? Round(object? value, JinjaArguments arguments)
    {
        var digits = Math.Clamp(arguments.Count(0, "precision", 0), 0, 15);
        var number = JinjaOperators.ToDouble(value);
        var scale = Math.Pow(10, digits);
        return arguments.Text(1, "method", "common") switch
        {
            "common" when value is not double => JinjaOperators.Shrink(JinjaOperators.ToInteger(value)),
            "common" => Math.Round(number, digits, MidpointRounding.ToEven),
            "ceil" => Math.Ceiling(number * scale) / scale,
            "floor" => Math.Floor(number * scale) / scale,
            var other => throw new JinjaException($"round: the method must be common, ceil or floor, not {other}"),
        };
    }
}
