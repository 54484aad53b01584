using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Values as Python writes them: str(), repr() and json.dumps().</summary>
internal static class JinjaText
{
    /// <summary>Python's str().</summary>
    public static string Str(object? value) => value switch
    {
        string text => text,
        Undefined => "",
        _ => Repr(value),
    };

    /// <summary>Python's repr().</summary>
    public static string Repr(object? value)
    {
        if (value is string text)
        {
            return Quote(text);
        }

        var result = new StringBuilder();
        AppendRepr(value, result);
        return result.ToString();
    }

    /// <summary>What Python calls the type, for errors.</summary>
    public static string TypeName(object? value) => value switch
    {
        null => "None",
        bool => "bool",
        long or BigInteger => "int",
        double => "float",
        string => "str",
        JinjaList { IsTuple: true } => "tuple",
        JinjaList => "list",
        JinjaDict => "dict",
        Undefined undefined => $"undefined ({undefined.What})",
        JinjaNamespace => "namespace",
        ICallable => "function",
        _ => value.GetType().Name,
    };

    /// <summary>repr() of a float: the shortest digits that read back the same; an exponent from 1e16 up and below 1e-4.</summary>
    public static string Float(double value)
    {
        if (double.IsNaN(value))
        {
            return "nan";
        }

        if (double.IsInfinity(value))
        {
            return value > 0 ? "inf" : "-inf";
        }

        // Either d.dddE+xx or plain decimals; both have just the digits wanted.
        var shortest = Math.Abs(value).ToString("R", CultureInfo.InvariantCulture);
        var mark = shortest.IndexOf('E', StringComparison.Ordinal);
        var point = shortest.IndexOf('.', StringComparison.Ordinal);
        var exponent = value == 0 ? 0
            : mark >= 0 ? int.Parse(shortest.AsSpan(mark + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture)
            : shortest[0] != '0' ? (point < 0 ? shortest.Length : point) - 1
            : 1 - shortest.AsSpan().IndexOfAnyInRange('1', '9');
        var digits = new string([.. shortest.TakeWhile(character => character != 'E').Where(char.IsAsciiDigit)]).TrimStart('0').TrimEnd('0');
        digits = digits.Length == 0 ? "0" : digits;
        var sign = double.IsNegative(value) ? "-" : "";
        if (exponent is < -4 or >= 16)
        {
            var mantissa = digits.Length == 1 ? digits : $"{digits[0]}.{digits[1..]}";
            return string.Create(CultureInfo.InvariantCulture, $"{sign}{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}");
        }

        if (exponent < 0)
        {
            return $"{sign}0.{new string('0', -exponent - 1)}{digits}";
        }

        var whole = digits.PadRight(exponent + 1, '0');
        return $"{sign}{whole[..(exponent + 1)]}.{(whole.Length > exponent + 1 ? whole[(exponent + 1)..] : "0")}";
    }

    private static void AppendRepr(object? value, StringBuilder result)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        switch (value)
        {
            case null:
                result.Append("None");
                break;
            case bool flag:
                result.Append(flag ? "True" : "False");
                break;
            case long or BigInteger:
                result.Append(CultureInfo.InvariantCulture, $"{value}");
                break;
            case double number:
                result.Append(Float(number));
                break;
            case string text:
                result.Append(Quote(text));
                break;
            case Undefined:
                result.Append("Undefined");
                break;
            case JinjaList list:
                result.Append(list.IsTuple ? '(' : '[');
                for (var i = 0; i < list.Items.Count; i++)
                {
                    AppendRepr(list.Items[i], i == 0 ? result : result.Append(", "));
                }

                result.Append(list.IsTuple ? list.Items.Count == 1 ? ",)" : ")" : "]");
                break;
            case JinjaDict dict:
                result.Append('{');
                var first = true;
                foreach (var (key, item) in dict.Entries)
                {
                    AppendRepr(key, first ? result : result.Append(", "));
                    AppendRepr(item, result.Append(": "));
                    first = false;
                }

                result.Append('}');
                break;
            default:
                result.Append('<').Append(TypeName(value)).Append('>');
                break;
        }
    }

    private static string Quote(string text)
    {
        var quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        var result = new StringBuilder(text.Length + 2).Append(quote);
        foreach (var rune in text.EnumerateRunes())
        {
            _ = rune.Value switch
            {
                '\\' => result.Append(@"\\"),
                '\n' => result.Append(@"\n"),
                '\r' => result.Append(@"\r"),
                '\t' => result.Append(@"\t"),
                _ when rune.Value == quote => result.Append('\\').Append(quote),
                _ when rune.Value == ' ' || IsPrintable(rune) => result.Append(rune),
                < 0x100 => result.Append(CultureInfo.InvariantCulture, $@"\x{rune.Value:x2}"),
                < 0x10000 => result.Append(CultureInfo.InvariantCulture, $@"\u{rune.Value:x4}"),
                _ => result.Append(CultureInfo.InvariantCulture, $@"\U{rune.Value:x8}"),
            };
        }

        return result.Append(quote).ToString();
    }

    private static bool IsPrintable(Rune rune) => Rune.GetUnicodeCategory(rune) is not (
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned
        or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);
}
