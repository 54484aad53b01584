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
        var given = arguments.Positional.Count == 0 ? null : arguments.Positional[0] as JinjaDict
            ?? throw new JinjaException($"{arguments.Callee} takes a dictionary or named values, not {JinjaText.TypeName(arguments.Positional[0])}");
        foreach (var (key, value) in given?.Entries ?? [])
        {
            dict.Set(key, value);
        }

        foreach (var (name, value) in arguments.Named)
        {
            dict.Set(name, value);
        }

        return dict;
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
            '%' => "%",
            _ => null,
        };
    }
}
