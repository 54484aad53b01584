using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.RegularExpressions;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Python's two ways to fill in a text: 'a %s' % value, and 'a {}'.format(value).</summary>
internal static partial class PythonFormat
{
    private const int MaxWidth = 10_000;

    /// <summary>text % value: a tuple for several places, a dictionary for places with names.</summary>
    public static string Percent(string text, object? value, RenderBudget budget)
    {
        var values = value is JinjaList { IsTuple: true } tuple ? tuple.Items : [value];
        var used = 0;
        var result = PercentPlace().Replace(text, place =>
        {
            var kind = place.Groups["kind"].Value;
            if (kind == "%")
            {
                return "%";
            }

            var name = place.Groups["name"];
            var item = name.Success
                ? value is JinjaDict dict && dict.TryGet(name.Value, out var named) ? named : throw new JinjaException($"%: no value named '{name.Value}'")
                : used < values.Count ? values[used++] : throw new JinjaException("%: fewer values than places in the text");
            var precision = place.Groups["precision"];
            return Number(kind, item, precision.Success ? precision.Value : null, place.Groups["flags"].Value, place.Groups["width"].Value, budget);
        });
        return used >= values.Count || value is JinjaDict || used == 0 && value is JinjaList { IsTuple: false } ? result
            : throw new JinjaException("%: more values than places in the text");
    }

    /// <summary>text.format(values): {} in turn, {0} by number, {name} by name, each with members [0] or .name and a format after a colon.</summary>
    public static string Braces(string text, JinjaArguments arguments)
    {
        var next = 0;
        return BracePlace().Replace(text, place =>
        {
            if (!place.Groups["place"].Success)
            {
                return place.Value.Length == 2 ? place.Value[..1] : throw new JinjaException($"format: a single '{place.Value}'");
            }

            var first = place.Groups["first"].Value;
            var value = first.Length == 0 ? Positional(next++)
                : int.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? Positional(number)
                : arguments.Named.TryGetValue(first, out var named) ? named : throw new JinjaException($"format: no value named '{first}'");
            foreach (Capture member in place.Groups["member"].Captures)
            {
                value = JinjaMembers.Item(value, long.TryParse(member.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var index) ? index : member.Value);
            }

            return place.Groups["conversion"].Value == "r" ? JinjaText.Repr(value) : Spec(value, place.Groups["spec"].Value, arguments.Budget);
        });

        object? Positional(int index) => index < arguments.Positional.Count ? arguments.Positional[index] : throw new JinjaException($"format: no value for place {index}");
    }

    private static string Number(string kind, object? item, string? precision, string flags, string width, RenderBudget budget)
    {
        var digits = precision is null ? 6 : Size(precision);
        var text = kind switch
        {
            "s" => JinjaText.Str(item),
            "r" or "a" => JinjaText.Repr(item),
            "d" or "i" or "u" => Whole(item).ToString(CultureInfo.InvariantCulture),
            "x" or "X" or "o" => Based(Whole(item), kind),
            "c" => item as string ?? char.ConvertFromUtf32((int)Whole(item)),
            "f" or "F" => JinjaOperators.ToDouble(item).ToString("F" + digits, CultureInfo.InvariantCulture),
            _ => Scientific(JinjaOperators.ToDouble(item), kind, digits),
        };
        if (kind is "s" or "r" or "a" && precision is not null)
        {
            text = text[..Math.Min(text.Length, digits)];
        }
        else if (kind is not ("s" or "r" or "a" or "c") && !text.StartsWith('-'))
        {
            text = (flags.Contains('+', StringComparison.Ordinal) ? "+" : flags.Contains(' ', StringComparison.Ordinal) ? " " : "") + text;
        }

        var columns = Size(width);
        return flags.Contains('-', StringComparison.Ordinal) ? StringMethods.Pad(text, columns, ' ', StringMethods.PadSide.Right, budget)
            : flags.Contains('0', StringComparison.Ordinal) && kind is not ("s" or "r" or "a" or "c") ? StringMethods.ZeroFill(text, columns, budget)
            : StringMethods.Pad(text, columns, ' ', StringMethods.PadSide.Left, budget);
    }

    private static string Spec(object? value, string spec, RenderBudget budget)
    {
        var parts = SpecParts().Match(spec);
        if (!parts.Success)
        {
            throw new JinjaException($"format: '{spec}' is no format that is known here");
        }

        var (kind, precision) = (parts.Groups["kind"].Value, parts.Groups["precision"]);
        var isNumber = value is not bool && JinjaOperators.IsNumber(value) || kind.Length > 0 && kind != "s";
        var text = kind.Length == 0 && (!precision.Success || !isNumber) || kind == "s" ? JinjaText.Str(value)
            : kind == "%" ? (JinjaOperators.ToDouble(value) * 100).ToString("F" + (precision.Success ? Size(precision.Value) : 6), CultureInfo.InvariantCulture) + "%"
            : Number(kind.Length == 0 ? "g" : kind, value, precision.Success ? precision.Value : null, "", "", budget);
        if (!isNumber && precision.Success)
        {
            text = text[..Math.Min(text.Length, Size(precision.Value))];
        }

        if (isNumber && parts.Groups["comma"].Value is { Length: > 0 } comma)
        {
            text = Grouping().Replace(text, "$0" + comma);
        }

        text = isNumber && parts.Groups["sign"].Value is "+" or " " && !text.StartsWith('-') ? parts.Groups["sign"].Value + text : text;
        var width = Size(parts.Groups["width"].Value);
        var fill = parts.Groups["fill"] is { Success: true, Value: [var given] } ? given : ' ';
        return parts.Groups["align"].Value switch
        {
            "<" => StringMethods.Pad(text, width, fill, StringMethods.PadSide.Right, budget),
            ">" => StringMethods.Pad(text, width, fill, StringMethods.PadSide.Left, budget),
            "^" => StringMethods.Pad(text, width, fill, StringMethods.PadSide.Both, budget),
            _ when parts.Groups["zero"].Success && isNumber => StringMethods.ZeroFill(text, width, budget),
            _ => StringMethods.Pad(text, width, ' ', isNumber ? StringMethods.PadSide.Left : StringMethods.PadSide.Right, budget),
        };
    }

    private static BigInteger Whole(object? item) =>
        item is double number && double.IsFinite(number) ? new BigInteger(Math.Truncate(number)) : JinjaOperators.ToInteger(item);

    private static string Based(BigInteger number, string kind)
    {
        var digits = new StringBuilder();
        var radix = kind == "o" ? 8 : 16;
        for (var rest = BigInteger.Abs(number); !rest.IsZero || digits.Length == 0; rest /= radix)
        {
            digits.Insert(0, (kind == "X" ? "0123456789ABCDEF" : "0123456789abcdef")[(int)(rest % radix)]);
        }

        return (number.Sign < 0 ? "-" : "") + digits;
    }

    private static string Scientific(double number, string kind, int digits)
    {
        var (upper, isGeneral) = (char.IsUpper(kind[0]), kind is "g" or "G");
        var significant = Math.Max(1, digits);
        var exponent = number == 0 ? 0 : (int)Math.Floor(Math.Log10(Math.Abs(number)));
        var text = !isGeneral ? number.ToString($"0.{new string('0', digits)}e+00", CultureInfo.InvariantCulture)
            : exponent < -4 || exponent >= significant ? number.ToString($"0.{new string('#', significant - 1)}e+00", CultureInfo.InvariantCulture)
            : number.ToString($"0.{new string('#', Math.Max(0, significant - 1 - exponent))}", CultureInfo.InvariantCulture);
        return upper ? text.ToUpperInvariant() : text;
    }

    /// <summary>A width or precision, bounded as all that a template can ask for is.</summary>
    private static int Size(string digits) => digits.Length == 0 ? 0
        : int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var size) && size <= MaxWidth ? size
        : throw new JinjaException($"a format's width of more than {MaxWidth}");

    [GeneratedRegex(@"%(?:\((?<name>[^)]*)\))?(?<flags>[-+ #0]*)(?<width>\d*)(?:\.(?<precision>\d*))?[hlL]?(?<kind>[%srdiuxXocfFeEgGa])")]
    private static partial Regex PercentPlace();

    [GeneratedRegex(@"\{\{|\}\}|(?<place>\{(?<first>[^{}\[\].:!]*)(?:\.(?<member>[^{}\[\].:!]+)|\[(?<member>[^\]]+)\])*(?:!(?<conversion>[rsa]))?(?::(?<spec>[^{}]*))?\})|[{}]")]
    private static partial Regex BracePlace();

    [GeneratedRegex(@"^(?:(?<fill>.)?(?<align>[<>^]))?(?<sign>[-+ ])?(?<zero>0)?(?<width>\d*)(?<comma>[,_])?(?:\.(?<precision>\d+))?(?<kind>[sdxXofFeEgG%])?$")]
    private static partial Regex SpecParts();

    [GeneratedRegex(@"(?<!\.\d*)\d(?=(?:\d{3})+(?!\d))")]
    private static partial Regex Grouping();
}
