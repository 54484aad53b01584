using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Reads Oniguruma's character classes and the escapes that stand for one, and writes them as .NET's.</summary>
internal sealed class CharacterClassReader(PatternCursor cursor, ClassWriter writer)
{
    /// <summary>A class whose opening bracket has been read, as a .NET class.</summary>
    public string Read(bool ignoreCase, int depth)
    {
        if (depth > PatternCursor.MaxDepth)
        {
            throw cursor.Malformed($"classes nested deeper than {PatternCursor.MaxDepth}");
        }

        var opening = cursor.Take("^") ? "[^" : "[";
        var items = new StringBuilder();
        var first = true;
        while (true)
        {
            if (cursor.AtEnd)
            {
                throw cursor.Malformed("a character class that is never closed");
            }

            if (!first && cursor.Take("]"))
            {
                return items.Length > 0 ? $"{opening}{items}]" : throw cursor.Malformed("an empty character class");
            }

            if (cursor.Take("&&"))
            {
                return Intersection(opening, items, ignoreCase, depth);
            }

            first = false;
            if (cursor.Next == '[')
            {
                Nested(items, ignoreCase, depth);
            }
            else if (ClassItem(items) is { } low)
            {
                var isRange = cursor.At + 1 < cursor.Source.Length && cursor.Next == '-' && cursor.Source[cursor.At + 1] != ']';
                cursor.At += isRange ? 1 : 0;
                var high = isRange ? ClassItem(items) ?? throw cursor.Malformed("a range that ends in a class") : low;
                if (low > high)
                {
                    throw cursor.Malformed("a range in reverse order");
                }

                writer.AppendRange(items, low, high);
                if (ignoreCase)
                {
                    ClassWriter.AppendCaseVariants(items, low, high);
                }
            }
        }
    }

    /// <summary>A and B, as A without what is not in B.</summary>
    private string Intersection(string opening, StringBuilder items, bool ignoreCase, int depth)
    {
        if (items.Length == 0)
        {
            throw cursor.Malformed("an empty side of &&");
        }

        // The right side reads to the bracket that closes the whole class.
        var start = cursor.At;
        string right;
        if (cursor.Take("["))
        {
            right = Read(ignoreCase, depth + 1);
            if (!cursor.Take("]"))
            {
                throw cursor.Malformed($"more than one class on the right of && (at {start})");
            }
        }
        else
        {
            right = Read(ignoreCase, depth + 1);
        }

        var complement = right.StartsWith("[^", StringComparison.Ordinal) ? "[" + right[2..] : "[^" + right[1..];
        return opening == "[" ? $"[{items}-{complement}]" : throw cursor.Malformed("a negated class with &&");
    }

    private void Nested(StringBuilder items, bool ignoreCase, int depth)
    {
        cursor.At++;
        if (cursor.Take(":"))
        {
            var close = cursor.Source.IndexOf(":]", cursor.At, StringComparison.Ordinal);
            var name = close < 0 ? "" : cursor.Source[cursor.At..close];
            cursor.At = close + 2;
            if (!writer.TryAppendPosix(items, name))
            {
                throw cursor.Malformed($"the class [:{name}:]");
            }

            return;
        }

        var inner = Read(ignoreCase, depth + 1);
        items.Append(inner.StartsWith("[^", StringComparison.Ordinal) || inner.Contains("-[", StringComparison.Ordinal)
            ? throw cursor.Malformed("a negated or intersected class inside a class")
            : inner[1..^1]);
    }

    private int? ClassItem(StringBuilder items) => cursor.Next == '\\' ? Escape(items, inClass: true) : cursor.TakeCodePoint();

    /// <summary>An escape in or outside a class: returns the code point it means, or appends the class items and returns null.</summary>
    public int? Escape(StringBuilder items, bool inClass)
    {
        cursor.At++;
        if (cursor.AtEnd)
        {
            throw cursor.Malformed("a pattern that ends in a backslash");
        }

        var letter = cursor.Source[cursor.At++];
        switch (letter)
        {
            case 's' or 'S':
                items.Append('\\').Append(letter);
                return null;
            case 'd' or 'D':
                AppendSet(items, new CharacterSet(CharacterProperties.Digit), letter == 'D');
                return null;
            case 'w' or 'W':
                AppendSet(items, inClass ? CharacterProperties.PosixWord : CharacterProperties.Word, letter == 'W');
                return null;
            case 'h':
                items.Append("0-9A-Fa-f");
                return null;
            case 'H':
                items.Append(@"\u0000-/:-@G-`g-\uFFFF");
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
                return cursor.HexDigits(4, 4);
            case 'x' when cursor.Take("{"):
                var wide = cursor.HexDigits(1, 6);
                return cursor.Take("}") && wide <= 0x10FFFF ? wide : throw cursor.Malformed(@"\x{...} that names no code point");
            case 'x':
                return cursor.HexDigits(1, 2);
            case >= '0' and <= '9':
                throw cursor.Malformed("a back reference or octal escape");
            case >= 'a' and <= 'z' or >= 'A' and <= 'Z':
                throw cursor.Malformed($@"the escape \{letter}");
            default:
                cursor.At--;
                return cursor.TakeCodePoint();
        }
    }

    private void AppendSet(StringBuilder items, CharacterSet set, bool negated) => writer.AppendSet(items, negated ? set.Negate() : set);

    private void Property(StringBuilder items, bool negated)
    {
        var close = cursor.Take("{") ? cursor.Source.IndexOf('}', cursor.At) : -1;
        if (close < 0)
        {
            throw cursor.Malformed(@"\p without {name}");
        }

        var name = cursor.Source[cursor.At..close];
        cursor.At = close + 1;
        if (name.StartsWith('^'))
        {
            (name, negated) = (name[1..], !negated);
        }

        if (!writer.TryAppendProperty(items, name, negated))
        {
            throw cursor.Malformed($@"the property {(negated ? "not " : "")}{name} (general categories and \p{{Han}} are supported)");
        }
    }
}
