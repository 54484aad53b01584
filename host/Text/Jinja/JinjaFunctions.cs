using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>The functions every template can call.</summary>
internal static class JinjaFunctions
{
    private const int MaxRange = 100_000;

    public static IReadOnlyDictionary<string, object?> Globals { get; } = new Dictionary<string, object?>(StringComparer.Ordinal)
    {
        ["range"] = new JinjaFunction(Range),
        ["namespace"] = new JinjaFunction(Namespace),
        ["dict"] = new JinjaFunction(Dict),
        ["joiner"] = new JinjaFunction(Joiner),
        ["cycler"] = new JinjaFunction(arguments => new Cycler(arguments.Positional)),
        ["raise_exception"] = new JinjaFunction(arguments => throw new JinjaException($"the template refuses: {JinjaText.Str(arguments.Get(0, "message"))}")),
        ["strftime_now"] = new JinjaFunction(arguments => Format(arguments.Budget.Time.GetLocalNow(), arguments.Text(0, "format"))),
    };

    private static JinjaList Range(JinjaArguments arguments)
    {
        var bounds = arguments.Positional.Select(JinjaOperators.ToInteger).Select(bound => (long)System.Numerics.BigInteger.Clamp(bound, int.MinValue, int.MaxValue)).ToArray();
        var (start, stop, step) = bounds switch
        {
            [var only] => (0L, only, 1L),
            [var first, var last] => (first, last, 1L),
            [var first, var last, not 0] => (first, last, bounds[2]),
            _ => throw new JinjaException("range takes a stop, or start, stop and a step other than zero"),
        };
        var count = Math.Max(0, (stop - start + step - Math.Sign(step)) / step);
        if (count > MaxRange)
        {
            throw new JinjaException($"range of more than {MaxRange} numbers");
        }

        arguments.Budget.Charge(count * 16);
        return new JinjaList([.. Enumerable.Range(0, (int)count).Select(i => (object?)(start + (i * step)))]);
    }

    private static JinjaNamespace Namespace(JinjaArguments arguments)
    {
        var made = new JinjaNamespace();
        foreach (var (name, value) in Dict(arguments).Entries)
        {
            made.Attributes[JinjaText.Str(name)] = value;
        }

        return made;
    }

    private static JinjaDict Dict(JinjaArguments arguments)
    {
        var dict = new JinjaDict();
        var given = arguments.Positional.Count == 0 ? [] : arguments.Positional[0] is JinjaDict pairs ? JinjaMembers.Pairs(pairs).Items : JinjaOperators.Items(arguments.Positional[0]);
        foreach (var item in given)
        {
            if (item is not JinjaList { Items: [var key, var value] })
            {
                throw new JinjaException($"{arguments.Callee} takes a dictionary, pairs or named values, not {JinjaText.TypeName(arguments.Positional[0])}");
            }

            dict.Set(key, value);
        }

        foreach (var (name, value) in arguments.Named)
        {
            dict.Set(name, value);
        }

        return dict;
    }

    /// <summary>A function that is empty the first time and the separator from then on.</summary>
    private static JinjaFunction Joiner(JinjaArguments arguments)
    {
        var separator = arguments.Get(0, "sep", ", ");
        var used = false;
        return new JinjaFunction(_ =>
        {
            var result = used ? separator : "";
            used = true;
            return result;
        });
    }

    /// <summary>C's strftime in its C locale; a '-' after the percent sign takes leading zeros off. What is not known stays.</summary>
    private static string Format(DateTimeOffset time, string format)
    {
        var result = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 >= format.Length)
            {
                result.Append(format[i]);
                continue;
            }

            var bare = format[i + 1] == '-' && i + 2 < format.Length;
            var letter = format[i + (bare ? 2 : 1)];
            var field = Field(time, letter);
            result.Append(field is null ? format.AsSpan(i, bare ? 3 : 2) : bare && field.TrimStart('0') is { Length: > 0 } trimmed ? trimmed : field);
            i += bare ? 2 : 1;
        }

        return result.ToString();
    }

    private static string? Field(DateTimeOffset time, char letter)
    {
        var pattern = letter switch
        {
            'Y' => "yyyy",
            'y' => "yy",
            'm' => "MM",
            'd' => "dd",
            'e' => "%d",
            'B' => "MMMM",
            'b' or 'h' => "MMM",
            'A' => "dddd",
            'a' => "ddd",
            'H' => "HH",
            'I' => "hh",
            'M' => "mm",
            'S' => "ss",
            'p' => "tt",
            'f' => "ffffff",
            'x' => "MM/dd/yy",
            'X' => "HH:mm:ss",
            'r' => "hh:mm:ss tt",
            'F' => "yyyy-MM-dd",
            'T' => "HH:mm:ss",
            'D' => "MM/dd/yy",
            'R' => "HH:mm",
            _ => null,
        };
        return pattern is not null ? time.ToString(pattern, CultureInfo.InvariantCulture).PadLeft(letter == 'e' ? 2 : 0) : letter switch
        {
            'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
            'w' => ((int)time.DayOfWeek).ToString(CultureInfo.InvariantCulture),
            'u' => ((((int)time.DayOfWeek + 6) % 7) + 1).ToString(CultureInfo.InvariantCulture),
            'c' => $"{time.ToString("ddd MMM", CultureInfo.InvariantCulture)} {time.Day,2} {time.ToString("HH:mm:ss yyyy", CultureInfo.InvariantCulture)}",
            'U' => ((time.DayOfYear + 6 - (int)time.DayOfWeek) / 7).ToString("00", CultureInfo.InvariantCulture),
            'W' => ((time.DayOfYear + 6 - (((int)time.DayOfWeek + 6) % 7)) / 7).ToString("00", CultureInfo.InvariantCulture),
            'V' => ISOWeek.GetWeekOfYear(time.DateTime).ToString("00", CultureInfo.InvariantCulture),
            'G' => ISOWeek.GetYear(time.DateTime).ToString(CultureInfo.InvariantCulture),
            'C' => (time.Year / 100).ToString("00", CultureInfo.InvariantCulture),
            'k' => time.Hour.ToString(CultureInfo.InvariantCulture).PadLeft(2),
            'l' => ((time.Hour + 11) % 12 + 1).ToString(CultureInfo.InvariantCulture).PadLeft(2),
            's' => time.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture),
            'z' or 'Z' => "", // Python's datetime.now() knows no zone
            'n' => "\n",
            't' => "\t",
            '%' => "%",
            _ => null,
        };
    }
}
