using System.Buffers;
using System.Text;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>The methods of Python's str.</summary>
internal static class StringMethods
{
    private static readonly SearchValues<char> LineEnds = SearchValues.Create("\n\r\v\f\u001C\u001D\u001E\u0085\u2028\u2029");

    private static readonly Dictionary<string, Func<string, JinjaArguments, object?>> Methods = new(StringComparer.Ordinal)
    {
        ["strip"] = (text, arguments) => Strip(text, arguments.Get(0, "chars"), start: true, end: true),
        ["lstrip"] = (text, arguments) => Strip(text, arguments.Get(0, "chars"), start: true, end: false),
        ["rstrip"] = (text, arguments) => Strip(text, arguments.Get(0, "chars"), start: false, end: true),
        ["split"] = (text, arguments) => Split(text, arguments),
        ["rsplit"] = (text, arguments) => Split(text, arguments, fromEnd: true),
        ["splitlines"] = (text, arguments) => SplitLines(text, arguments.Flag(0, "keepends")),
        ["startswith"] = (text, arguments) => Affixes(arguments, "prefix").Any(prefix => text.StartsWith(prefix, StringComparison.Ordinal)),
        ["endswith"] = (text, arguments) => Affixes(arguments, "suffix").Any(suffix => text.EndsWith(suffix, StringComparison.Ordinal)),
        ["removeprefix"] = (text, arguments) => text.StartsWith(arguments.Text(0, "prefix"), StringComparison.Ordinal) ? text[arguments.Text(0, "prefix").Length..] : text,
        ["removesuffix"] = (text, arguments) => text.EndsWith(arguments.Text(0, "suffix"), StringComparison.Ordinal) ? text[..^arguments.Text(0, "suffix").Length] : text,
        ["replace"] = (text, arguments) => Replace(text, arguments.Text(0, "old"), arguments.Text(1, "new"), arguments.Count(2, "count", -1), arguments.Budget),
        ["lower"] = (text, _) => PythonCase.Lower(text),
        ["casefold"] = (text, _) => PythonCase.Lower(PythonCase.Upper(text)).Replace('\u03C2', '\u03C3'),
        ["upper"] = (text, _) => PythonCase.Upper(text),
        ["capitalize"] = (text, _) => PythonCase.Capitalize(text),
        ["title"] = (text, _) => PythonCase.Title(text),
        ["format"] = PythonFormat.Braces,
        ["istitle"] = (text, _) => text.Any(char.IsLetter) && PythonCase.Title(text) == text,
        ["expandtabs"] = (text, arguments) => ExpandTabs(text, Math.Clamp(arguments.Count(0, "tabsize", 8), 0, 1000), arguments.Budget),
        ["swapcase"] = (text, _) => string.Concat(text.Select(letter => char.IsUpper(letter) ? char.ToLowerInvariant(letter) : char.ToUpperInvariant(letter))),
        ["find"] = (text, arguments) => Position(text, text.IndexOf(arguments.Text(0, "sub"), StringComparison.Ordinal)),
        ["rfind"] = (text, arguments) => Position(text, text.LastIndexOf(arguments.Text(0, "sub"), StringComparison.Ordinal)),
        ["index"] = (text, arguments) => text.IndexOf(arguments.Text(0, "sub"), StringComparison.Ordinal) is >= 0 and var at
            ? Position(text, at)
            : throw new JinjaException("index: the string is not there"),
        ["count"] = (text, arguments) => arguments.Text(0, "sub") is { Length: > 0 } part ? (long)Pieces(text, part, -1).Count - 1 : Length(text) + 1L,
        ["join"] = (text, arguments) => Join(text, JinjaOperators.Items(arguments.Require(0, "iterable")), arguments.Budget),
        ["partition"] = (text, arguments) => Partition(text, arguments.Text(0, "sep"), text.IndexOf(arguments.Text(0, "sep"), StringComparison.Ordinal), atEnd: false),
        ["rpartition"] = (text, arguments) => Partition(text, arguments.Text(0, "sep"), text.LastIndexOf(arguments.Text(0, "sep"), StringComparison.Ordinal), atEnd: true),
        ["zfill"] = (text, arguments) => ZeroFill(text, Width(arguments), arguments.Budget),
        ["ljust"] = (text, arguments) => Pad(text, Width(arguments), Fill(arguments), PadSide.Right, arguments.Budget),
        ["rjust"] = (text, arguments) => Pad(text, Width(arguments), Fill(arguments), PadSide.Left, arguments.Budget),
        ["center"] = (text, arguments) => Pad(text, Width(arguments), Fill(arguments), PadSide.Both, arguments.Budget),
        ["isalpha"] = (text, _) => text.Length > 0 && text.All(char.IsLetter),
        ["isalnum"] = (text, _) => text.Length > 0 && text.All(letter => char.IsLetter(letter) || char.IsNumber(letter)),
        ["isdigit"] = (text, _) => text.Length > 0 && text.All(char.IsDigit),
        ["isdecimal"] = (text, _) => text.Length > 0 && text.All(char.IsDigit),
        ["isnumeric"] = (text, _) => text.Length > 0 && text.All(char.IsNumber),
        ["isspace"] = (text, _) => text.Length > 0 && text.All(IsSpace),
        ["isupper"] = (text, _) => text.Any(char.IsUpper) && !text.Any(char.IsLower),
        ["islower"] = (text, _) => text.Any(char.IsLower) && !text.Any(char.IsUpper),
    };

    public enum PadSide
    {
        Left,
        Right,
        Both,
    }

    /// <summary>The method bound to the text, or null.</summary>
    public static JinjaFunction? Find(string text, string name) => !Methods.TryGetValue(name, out var method) ? null : new JinjaFunction(arguments =>
    {
        arguments.Budget.Charge(text.Length);
        return method(text, arguments);
    });

    /// <summary>Characters as Python counts them.</summary>
    public static int Length(string text) => text.Length - text.Count(char.IsLowSurrogate);

    public static string Strip(string text, object? characters, bool start, bool end)
    {
        var set = characters switch
        {
            null => null,
            string given => given,
            _ => throw new JinjaException($"strip: 'chars' must be a string, not {JinjaText.TypeName(characters)}"),
        };
        var (from, to) = (0, text.Length);
        while (start && from < to && Goes(text[from]))
        {
            from++;
        }

        while (end && to > from && Goes(text[to - 1]))
        {
            to--;
        }

        return text[from..to];

        bool Goes(char character) => set is null ? IsSpace(character) : set.Contains(character, StringComparison.Ordinal);
    }

    public static string Replace(string text, string old, string replacement, int count, RenderBudget budget)
    {
        // Nothing stands before, between and after all characters.
        var pieces = old.Length > 0 ? Pieces(text, old, count) : [.. text.EnumerateRunes().Select(rune => rune.ToString()).Prepend("").Append("")];
        if (old.Length == 0 && count >= 0 && pieces.Count > count + 1)
        {
            pieces = [.. pieces.Take(count), string.Concat(pieces.Skip(count))];
        }

        budget.Charge(text.Length + ((pieces.Count - 1L) * (replacement.Length - old.Length)));
        return string.Join(replacement, pieces);
    }

    public static string Join(string separator, IReadOnlyList<object?> items, RenderBudget budget)
    {
        var texts = items.Select(JinjaText.Str).ToArray();
        budget.Charge(texts.Sum(text => (long)text.Length + separator.Length));
        return string.Join(separator, texts);
    }

    public static string Pad(string text, int width, char fill, PadSide side, RenderBudget budget)
    {
        var missing = Math.Max(0, width - Length(text));
        budget.Charge((long)text.Length + missing);
        var left = side switch { PadSide.Left => missing, PadSide.Right => 0, _ => (missing / 2) + (missing & width & 1) };
        return new string(fill, left) + text + new string(fill, missing - left);
    }

    /// <summary>Zeros after the sign, if there is one.</summary>
    public static string ZeroFill(string text, int width, RenderBudget budget) => text.StartsWith('-') || text.StartsWith('+')
        ? text[0] + Pad(text[1..], width - 1, '0', PadSide.Left, budget)
        : Pad(text, width, '0', PadSide.Left, budget);

    /// <summary>Python's str.isspace for one character.</summary>
    public static bool IsSpace(char character) => char.IsWhiteSpace(character) || character is >= '\u001C' and <= '\u001F';

    private static string ExpandTabs(string text, int size, RenderBudget budget)
    {
        budget.Charge(text.Length + ((long)text.Count(character => character == '\t') * size));
        var result = new StringBuilder(text.Length);
        var column = 0;
        foreach (var character in text)
        {
            if (character == '\t')
            {
                var spaces = size == 0 ? 0 : size - (column % size);
                result.Append(' ', spaces);
                column += spaces;
            }
            else
            {
                result.Append(character);
                column = character is '\n' or '\r' ? 0 : column + 1;
            }
        }

        return result.ToString();
    }

    private static JinjaList Split(string text, JinjaArguments arguments, bool fromEnd = false)
    {
        var limit = arguments.Count(1, "maxsplit", -1);
        if (arguments.Get(0, "sep") is null)
        {
            return new JinjaList([.. Words(text, limit, fromEnd)]);
        }

        var separator = arguments.Text(0, "sep");
        if (separator.Length == 0)
        {
            throw new JinjaException("split: the separator is empty");
        }

        var pieces = Pieces(text, separator, fromEnd ? -1 : limit);
        if (fromEnd && limit >= 0 && pieces.Count > limit + 1)
        {
            var head = string.Join(separator, pieces.Take(pieces.Count - limit));
            pieces = [head, .. pieces.Skip(pieces.Count - limit)];
        }

        arguments.Budget.Charge(pieces.Count * 16L);
        return new JinjaList([.. pieces]);
    }

    private static List<string> Pieces(string text, string separator, int limit)
    {
        var pieces = new List<string>();
        var start = 0;
        for (var at = text.IndexOf(separator, StringComparison.Ordinal); at >= 0 && pieces.Count != limit; at = text.IndexOf(separator, start, StringComparison.Ordinal))
        {
            pieces.Add(text[start..at]);
            start = at + separator.Length;
        }

        pieces.Add(text[start..]);
        return pieces;
    }

    /// <summary>Split at runs of white space; what is left when the limit is reached stays as it is.</summary>
    private static List<string> Words(string text, int limit, bool fromEnd)
    {
        var words = new List<(int Start, int End)>();
        for (var i = 0; i < text.Length; i++)
        {
            var start = i;
            while (i < text.Length && !IsSpace(text[i]))
            {
                i++;
            }

            if (i > start)
            {
                words.Add((start, i));
            }
        }

        var whole = words.Select(word => text[word.Start..word.End]);
        return limit < 0 || words.Count <= limit ? [.. whole]
            : fromEnd ? [text[..words[^(limit + 1)].End], .. whole.TakeLast(limit)]
            : [.. whole.Take(limit), text[words[limit].Start..]];
    }

    private static JinjaList SplitLines(string text, bool keepEnds)
    {
        var lines = new List<object?>();
        for (var start = 0; start < text.Length;)
        {
            var end = text.AsSpan(start).IndexOfAny(LineEnds);
            end = end < 0 ? text.Length : start + end;
            var next = end == text.Length ? end : end + (text[end] == '\r' && end + 1 < text.Length && text[end + 1] == '\n' ? 2 : 1);
            lines.Add(text[start..(keepEnds ? next : end)]);
            start = next;
        }

        return new JinjaList(lines);
    }

    private static JinjaList Partition(string text, string separator, int at, bool atEnd)
    {
        object?[] parts = at >= 0 ? [text[..at], separator, text[(at + separator.Length)..]] : atEnd ? ["", "", text] : [text, "", ""];
        return new JinjaList(parts, isTuple: true);
    }

    private static IEnumerable<string> Affixes(JinjaArguments arguments, string name) =>
        arguments.Require(0, name) is JinjaList { IsTuple: true } many ? many.Items.Select(JinjaText.Str) : [arguments.Text(0, name)];

    private static long Position(string text, int at) => at < 0 ? -1 : Length(text[..at]);

    private static int Width(JinjaArguments arguments) => arguments.Count(0, "width", 0);

    private static char Fill(JinjaArguments arguments) =>
        arguments.Text(1, "fillchar", " ") is { Length: 1 } fill ? fill[0] : throw new JinjaException("the fill character must be one character");
}
