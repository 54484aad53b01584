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
    private const string Metacharacters = @"\*+?|{}[]()^$.# ";

    private static readonly string[] PlainGroups = [":", "=", "!", ">", "<=", "<!"];

    private readonly PatternCursor cursor;
    private readonly ClassWriter writer;
    private readonly CharacterClassReader classes;

    private OnigurumaPattern(string source, CodePointClasses classes, bool mapped)
    {
        cursor = new PatternCursor(source);
        writer = new ClassWriter(classes, mapped);
        this.classes = new CharacterClassReader(cursor, writer);
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
        return cursor.AtEnd ? result.ToString() : throw cursor.Malformed("an unmatched ')'");
    }

    private void Alternatives(StringBuilder result, bool ignoreCase, bool dotAll, int depth)
    {
        if (depth > PatternCursor.MaxDepth)
        {
            throw cursor.Malformed($"groups nested deeper than {PatternCursor.MaxDepth}");
        }

        while (!cursor.AtEnd && cursor.Next != ')')
        {
            if (cursor.Take("|"))
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
        var start = cursor.At;
        if (cursor.Take("(?") && Flags(out ignoreCase, out dotAll) && cursor.Take(")"))
        {
            return true;
        }

        cursor.At = start;
        return false;
    }

    /// <summary>Ruby's i and m (dot matches newline), each on or off.</summary>
    private bool Flags(out bool? ignoreCase, out bool? dotAll)
    {
        (ignoreCase, dotAll) = (null, null);
        var (on, start) = (true, cursor.At);
        for (; !cursor.AtEnd && cursor.Next is 'i' or 'm' or '-'; cursor.At++)
        {
            switch (cursor.Next)
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

        return cursor.At > start;
    }

    private void Atom(StringBuilder atom, bool ignoreCase, bool dotAll, int depth)
    {
        switch (cursor.Next)
        {
            case '(':
                Group(atom, ignoreCase, dotAll, depth);
                break;
            case '[':
                cursor.At++;
                atom.Append(classes.Read(ignoreCase, depth));
                break;
            case '.':
                cursor.At++;
                atom.Append(dotAll ? @"[\s\S]" : @"[^\n]");
                break;
            case '^' or '$':
                atom.Append("(?m:").Append(cursor.Source[cursor.At++]).Append(')');
                break;
            case '*' or '+' or '?':
                throw cursor.Malformed("a quantifier with nothing to repeat");
            case '\\':
                Escape(atom, ignoreCase);
                break;
            default:
                Literal(atom, cursor.TakeCodePoint(), ignoreCase);
                break;
        }
    }

    private void Group(StringBuilder atom, bool ignoreCase, bool dotAll, int depth)
    {
        cursor.At++;
        var opening = "(?:";
        if (cursor.Take("?"))
        {
            var known = Array.Find(PlainGroups, cursor.Take);
            if (known is not null)
            {
                opening = "(?" + known;
            }
            else if (Flags(out var turnsOnCase, out var turnsOnDot) && cursor.Take(":"))
            {
                (ignoreCase, dotAll) = (turnsOnCase ?? ignoreCase, turnsOnDot ?? dotAll);
            }
            else
            {
                throw cursor.Malformed("a group that is none of (...) (?:...) (?i:...) (?m:...) (?=...) (?!...) (?<=...) (?<!...) (?>...)");
            }
        }

        atom.Append(opening);
        Alternatives(atom, ignoreCase, dotAll, depth + 1);
        if (!cursor.Take(")"))
        {
            throw cursor.Malformed("a group that is never closed");
        }

        atom.Append(')');
    }

    private void Quantifiers(StringBuilder atom)
    {
        while (!cursor.AtEnd)
        {
            var isInterval = false;
            string? quantifier = null;
            if (cursor.Next is '*' or '+' or '?')
            {
                quantifier = cursor.Source[cursor.At++].ToString();
            }
            else if (cursor.Next == '{' && Interval() is { } interval)
            {
                (quantifier, isInterval) = (interval, true);
            }

            if (quantifier is null)
            {
                return;
            }

            // A + after {n,m} repeats the repetition in Ruby syntax; only after * + ? does it make them possessive.
            if (cursor.Take("?"))
            {
                atom.Append(quantifier).Append('?');
            }
            else if (!isInterval && cursor.Take("+"))
            {
                atom.Insert(0, "(?>").Append(quantifier).Append(')');
            }
            else
            {
                atom.Append(quantifier);
            }

            if (!cursor.AtEnd && cursor.Next is '*' or '+' or '?' or '{')
            {
                atom.Insert(0, "(?:").Append(')');
            }
        }
    }

    private string? Interval()
    {
        var match = Regex.Match(cursor.Source[cursor.At..], @"^\{(\d{0,4})(,?)(\d{0,4})\}");
        if (!match.Success || (match.Groups[1].Length == 0 && match.Groups[3].Length == 0))
        {
            return null;
        }

        cursor.At += match.Length;
        var least = match.Groups[1].Length == 0 ? "0" : match.Groups[1].Value;
        return $"{{{least}{match.Groups[2].Value}{match.Groups[3].Value}}}";
    }

    private void Escape(StringBuilder atom, bool ignoreCase)
    {
        var start = cursor.At;
        cursor.At++;
        switch (!cursor.AtEnd ? cursor.Next : '\0')
        {
            case 'A' or 'z' or 'Z' or 'G':
                atom.Append('\\').Append(cursor.Source[cursor.At++]);
                return;
            case 'b' or 'B':
                WordBoundary(atom, isBoundary: cursor.Source[cursor.At++] == 'b');
                return;
            case 'R':
                cursor.At++;
                atom.Append(@"(?>\r\n|[\n-\r\u0085\u2028\u2029])");
                return;
        }

        cursor.At = start;
        var items = new StringBuilder();
        if (classes.Escape(items, inClass: false) is { } codePoint)
        {
            Literal(atom, codePoint, ignoreCase);
        }
        else
        {
            atom.Append('[').Append(items).Append(']');
        }
    }

    /// <summary>\b by Oniguruma's notion of a word, which is not .NET's.</summary>
    private void WordBoundary(StringBuilder atom, bool isBoundary)
    {
        var word = new StringBuilder();
        writer.AppendSet(word, CharacterProperties.Word);
        var (then, otherwise) = isBoundary ? ('!', '=') : ('=', '!');
        atom.Append($"(?:(?<=[{word}])(?{then}[{word}])|(?<![{word}])(?{otherwise}[{word}]))");
    }

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
        var same = ignoreCase ? CaseFolding.Equivalents(character) : "";
        if (same.Length < 2)
        {
            atom.Append(Metacharacters.Contains(character, StringComparison.Ordinal) ? "\\" : "").Append(character);
            return;
        }

        atom.Append('[').Append(same).Append(']');
    }
}
