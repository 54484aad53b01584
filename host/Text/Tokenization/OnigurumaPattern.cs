using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// Rewrites a regex of tokenizer.json (Oniguruma, Ruby syntax, as Hugging Face's tokenizers run it) for .NET, over text mapped by
/// <see cref="CodePointClasses"/>. Differences bridged: possessive quantifiers, ^ and $ at every line, case-insensitive groups
/// without culture, nested and intersected classes, code points beyond the BMP.
/// </summary>
internal sealed class OnigurumaPattern
{
    private const int MaxDepth = 50;
    private const string Metacharacters = @"\*+?|{}[]()^$.# ";

    private static readonly string[] PlainGroups = [":", "=", "!", ">", "<=", "<!"];

    private readonly string source;
    private readonly ClassWriter writer;
    private int at;

    private OnigurumaPattern(string source, CodePointClasses classes, bool mapped)
    {
        this.source = source;
        writer = new ClassWriter(classes, mapped);
    }

    /// <summary>The classes of code points the pattern tells apart.</summary>
    /// <exception cref="ArgumentException">The pattern is malformed or uses what is not supported.</exception>
    public static CodePointClasses Classes(string source)
    {
        var pattern = new OnigurumaPattern(source, new CodePointClasses([]), mapped: true);
        pattern.Translate();
        return pattern.writer.Cuts.Count <= CodePointClasses.MaxCuts
            ? new CodePointClasses([.. pattern.writer.Cuts])
            : throw new ArgumentException($"more than {CodePointClasses.MaxCuts / 2} ranges beyond the BMP");
    }

    /// <param name="mapped">False for a leaner regex that is right for text without surrogates and private-use characters.</param>
    public static Regex Compile(string source, CodePointClasses classes, bool mapped) =>
        new(new OnigurumaPattern(source, classes, mapped).Translate(), RegexOptions.Compiled | RegexOptions.CultureInvariant);

    private string Translate()
    {
        var result = new StringBuilder();
        Alternatives(result, ignoreCase: false, dotAll: false, depth: 0);
        return at == source.Length ? result.ToString() : throw Malformed("an unmatched ')'");
    }

    private void Alternatives(StringBuilder result, bool ignoreCase, bool dotAll, int depth)
    {
        if (depth > MaxDepth)
        {
            throw Malformed($"groups nested deeper than {MaxDepth}");
        }

        while (at < source.Length && source[at] != ')')
        {
            if (Take("|"))
            {
                result.Append('|');
                continue;
            }

            // (?i) without a body holds to the end of the enclosing group.
            if (OptionsHere(out var turnsOnCase, out var turnsOnDot))
            {
                (ignoreCase, dotAll) = (turnsOnCase ?? ignoreCase, turnsOnDot ?? dotAll);
                continue;
            }

            var atom = new StringBuilder();
            Atom(atom, ignoreCase, dotAll, depth);
            Quantifiers(atom);
            result.Append(atom);
        }
    }

    private bool OptionsHere(out bool? ignoreCase, out bool? dotAll)
    {
        (ignoreCase, dotAll) = (null, null);
        var start = at;
        if (Take("(?") && Flags(out ignoreCase, out dotAll) && Take(")"))
        {
            return true;
        }

        at = start;
        return false;
    }

    /// <summary>Ruby's i and m (dot matches newline), each on or off.</summary>
    private bool Flags(out bool? ignoreCase, out bool? dotAll)
    {
        (ignoreCase, dotAll) = (null, null);
        var (on, start) = (true, at);
        for (; at < source.Length && source[at] is 'i' or 'm' or '-'; at++)
        {
            switch (source[at])
            {
                case 'i':
                    ignoreCase = on;
                    break;
                case 'm':
                    dotAll = on;
                    break;
                default:
                    on = false;
                    break;
            }
        }

        return at > start;
    }

    private void Atom(StringBuilder atom, bool ignoreCase, bool dotAll, int depth)
    {
        switch (source[at])
        {
            case '(':
                Group(atom, ignoreCase, dotAll, depth);
                break;
            case '[':
                at++;
                var body = Class(ignoreCase, depth);
                atom.Append(ignoreCase ? $"(?i:{body})" : body);
                break;
            case '.':
                at++;
                atom.Append(dotAll ? @"[\s\S]" : @"[^\n]");
                break;
            case '^' or '$':
                atom.Append("(?m:").Append(source[at++]).Append(')');
                break;
            case '*' or '+' or '?':
                throw Malformed("a quantifier with nothing to repeat");
            case '\\':
                Escape(atom, ignoreCase);
                break;
            default:
                Literal(atom, TakeCodePoint(), ignoreCase);
                break;
        }
    }

    private void Group(StringBuilder atom, bool ignoreCase, bool dotAll, int depth)
    {
        at++;
        var opening = "(?:";
        if (Take("?"))
        {
            var known = Array.Find(PlainGroups, Take);
            if (known is not null)
            {
                opening = "(?" + known;
            }
            else if (Flags(out var turnsOnCase, out var turnsOnDot) && Take(":"))
            {
                (ignoreCase, dotAll) = (turnsOnCase ?? ignoreCase, turnsOnDot ?? dotAll);
            }
            else
            {
                throw Malformed("a group that is none of (...) (?:...) (?i:...) (?m:...) (?=...) (?!...) (?<=...) (?<!...) (?>...)");
            }
        }

        atom.Append(opening);
        Alternatives(atom, ignoreCase, dotAll, depth + 1);
        if (!Take(")"))
        {
            throw Malformed("a group that is never closed");
        }

        atom.Append(')');
    }

    private void Quantifiers(StringBuilder atom)
    {
        while (at < source.Length)
        {
            var isInterval = false;
            string? quantifier = null;
            if (source[at] is '*' or '+' or '?')
            {
                quantifier = source[at++].ToString();
            }
            else if (source[at] == '{' && Interval() is { } interval)
            {
                (quantifier, isInterval) = (interval, true);
            }

            if (quantifier is null)
            {
                return;
            }

            // A + after {n,m} repeats the repetition in Ruby syntax; only after * + ? does it make them possessive.
            if (Take("?"))
            {
                atom.Append(quantifier).Append('?');
            }
            else if (!isInterval && Take("+"))
            {
                atom.Insert(0, "(?>").Append(quantifier).Append(')');
            }
            else
            {
                atom.Append(quantifier);
            }

            if (at < source.Length && source[at] is '*' or '+' or '?' or '{')
            {
                atom.Insert(0, "(?:").Append(')');
            }
        }
    }

    private string? Interval()
    {
        var match = Regex.Match(source[at..], @"^\{(\d{0,4})(,?)(\d{0,4})\}");
        if (!match.Success || (match.Groups[1].Length == 0 && match.Groups[3].Length == 0))
        {
            return null;
        }

        at += match.Length;
        var least = match.Groups[1].Length == 0 ? "0" : match.Groups[1].Value;
        return $"{{{least}{match.Groups[2].Value}{match.Groups[3].Value}}}";
    }

    private void Escape(StringBuilder atom, bool ignoreCase)
    {
        var start = at;
        at++;
        if (at < source.Length && source[at] is 'b' or 'B' or 'A' or 'z' or 'Z' or 'G')
        {
            atom.Append('\\').Append(source[at++]);
            return;
        }

        at = start;
        var items = new StringBuilder();
        if (ClassEscape(items) is { } codePoint)
        {
            Literal(atom, codePoint, ignoreCase);
        }
        else
        {
            atom.Append('[').Append(items).Append(']');
        }
    }

    /// <summary>An escape in or outside a class: returns the code point it means, or appends the class items and returns null.</summary>
    private int? ClassEscape(StringBuilder items)
    {
        at++;
        if (at >= source.Length)
        {
            throw Malformed("a pattern that ends in a backslash");
        }

        var letter = source[at++];
        switch (letter)
        {
            case 's' or 'S':
                items.Append('\\').Append(letter);
                return null;
            case 'd' or 'D':
                writer.AppendMask(items, letter == 'd' ? CharacterProperties.Digit : ~CharacterProperties.Digit);
                return null;
            case 'w' or 'W':
                writer.AppendMask(items, letter == 'w' ? CharacterProperties.Word : ~CharacterProperties.Word);
                return null;
            case 'p' or 'P':
                Property(items, letter == 'P');
                return null;
            case 't':
                return '\t';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 'f':
                return '\f';
            case 'v':
                return '\v';
            case 'a':
                return '\a';
            case 'e':
                return 0x1B;
            case 'u':
                return HexDigits(4, 4);
            case 'x' when Take("{"):
                var wide = HexDigits(1, 6);
                return Take("}") && wide <= 0x10FFFF ? wide : throw Malformed(@"\x{...} that names no code point");
            case 'x':
                return HexDigits(1, 2);
            case >= '0' and <= '9':
                throw Malformed("a back reference or octal escape");
            case >= 'a' and <= 'z' or >= 'A' and <= 'Z':
                throw Malformed($@"the escape \{letter}");
            default:
                at--;
                return TakeCodePoint();
        }
    }

    private void Property(StringBuilder items, bool negated)
    {
        var close = Take("{") ? source.IndexOf('}', at) : -1;
        if (close < 0)
        {
            throw Malformed(@"\p without {name}");
        }

        var name = source[at..close];
        at = close + 1;
        if (name.StartsWith('^'))
        {
            (name, negated) = (name[1..], !negated);
        }

        if (!writer.TryAppendProperty(items, name, negated))
        {
            throw Malformed($@"the property {(negated ? "not " : "")}{name} (general categories and \p{{Han}} are supported)");
        }
    }

    /// <summary>A class whose opening bracket has been read, as a .NET class.</summary>
    private string Class(bool ignoreCase, int depth)
    {
        if (depth > MaxDepth)
        {
            throw Malformed($"classes nested deeper than {MaxDepth}");
        }

        var opening = Take("^") ? "[^" : "[";
        var items = new StringBuilder();
        var first = true;
        while (true)
        {
            if (at >= source.Length)
            {
                throw Malformed("a character class that is never closed");
            }

            if (!first && Take("]"))
            {
                return items.Length > 0 ? $"{opening}{items}]" : throw Malformed("an empty character class");
            }

            if (Take("&&"))
            {
                return Intersection(opening, items, ignoreCase, depth);
            }

            first = false;
            if (source[at] == '[')
            {
                Nested(items, ignoreCase, depth);
            }
            else if (ClassItem(items) is { } low)
            {
                var isRange = at + 1 < source.Length && source[at] == '-' && source[at + 1] != ']';
                at += isRange ? 1 : 0;
                var high = isRange ? ClassItem(items) ?? throw Malformed("a range that ends in a class") : low;
                if (low > high)
                {
                    throw Malformed("a range in reverse order");
                }

                writer.AppendRange(items, low, high);
            }
        }
    }

    /// <summary>A and B, as A without what is not in B.</summary>
    private string Intersection(string opening, StringBuilder items, bool ignoreCase, int depth)
    {
        if (items.Length == 0)
        {
            throw Malformed("an empty side of &&");
        }

        // The right side reads to the bracket that closes the whole class.
        var start = at;
        string right;
        if (Take("["))
        {
            right = Class(ignoreCase, depth + 1);
            if (!Take("]"))
            {
                throw Malformed($"more than one class on the right of && (at {start})");
            }
        }
        else
        {
            right = Class(ignoreCase, depth + 1);
        }

        var complement = right.StartsWith("[^", StringComparison.Ordinal) ? "[" + right[2..] : "[^" + right[1..];
        return opening == "[" ? $"[{items}-{complement}]" : throw Malformed("a negated class with &&");
    }

    private void Nested(StringBuilder items, bool ignoreCase, int depth)
    {
        at++;
        if (Take(":"))
        {
            var close = source.IndexOf(":]", at, StringComparison.Ordinal);
            var name = close < 0 ? "" : source[at..close];
            at = close + 2;
            if (!writer.TryAppendPosix(items, name))
            {
                throw Malformed($"the class [:{name}:]");
            }

            return;
        }

        var inner = Class(ignoreCase, depth + 1);
        items.Append(inner.StartsWith("[^", StringComparison.Ordinal) || inner.Contains("-[", StringComparison.Ordinal)
            ? throw Malformed("a negated or intersected class inside a class")
            : inner[1..^1]);
    }

    private int? ClassItem(StringBuilder items) => source[at] == '\\' ? ClassEscape(items) : TakeCodePoint();

    private void Literal(StringBuilder atom, int codePoint, bool ignoreCase)
    {
        if (CodePointClasses.IsMapped(codePoint))
        {
            atom.Append('[');
            var items = new StringBuilder();
            writer.AppendRange(items, codePoint, codePoint);
            atom.Append(items).Append(']');
            return;
        }

        var character = (char)codePoint;
        if (!ignoreCase || (char.ToUpperInvariant(character) == character && char.ToLowerInvariant(character) == character))
        {
            atom.Append(Metacharacters.Contains(character, StringComparison.Ordinal) ? "\\" : "").Append(character);
            return;
        }

        // Simple case folding; the long s and the Kelvin sign fold to ASCII letters.
        atom.Append('[').Append(char.ToLowerInvariant(character)).Append(char.ToUpperInvariant(character));
        atom.Append(char.ToLowerInvariant(character) switch { 's' => "\u017F", 'k' => "\u212A", _ => "" }).Append(']');
    }

    private int HexDigits(int least, int most)
    {
        var start = at;
        while (at < source.Length && at - start < most && char.IsAsciiHexDigit(source[at]))
        {
            at++;
        }

        return at - start >= least
            ? int.Parse(source.AsSpan(start, at - start), NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            : throw Malformed("an escape with too few hex digits");
    }

    private int TakeCodePoint()
    {
        var codePoint = char.IsSurrogatePair(source, at) ? char.ConvertToUtf32(source[at], source[at + 1]) : source[at];
        at += codePoint > 0xFFFF ? 2 : 1;
        return codePoint;
    }

    private bool Take(string text)
    {
        if (string.CompareOrdinal(source, at, text, 0, text.Length) != 0)
        {
            return false;
        }

        at += text.Length;
        return true;
    }

    private ArgumentException Malformed(string what) => new($"at character {at}: {what}");
}
