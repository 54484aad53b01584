using System.Text;
using System.Text.RegularExpressions;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>
/// Cuts a template into tokens with the whitespace rules Hugging Face renders chat templates by: trim_blocks (the newline after a
/// block or comment goes), lstrip_blocks (the blanks before one that begins its line go), no newline kept at the very end.
/// </summary>
internal sealed partial class JinjaLexer
{
    // Longest first.
    private static readonly string[] Operators =
        ["**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", ">", "<", "=", ".", ",", ":", "|", "(", ")", "[", "]", "{", "}", ";"];

    private readonly string source;
    private readonly List<JinjaToken> tokens = [];
    private int at;
    private int line = 1;
    private int lineCounted;

    private JinjaLexer(string source) => this.source = source;

    /// <exception cref="JinjaException">A string, comment or raw block is never closed, or a character begins no token.</exception>
    public static List<JinjaToken> Read(string template)
    {
        var source = template.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        var lexer = new JinjaLexer(source.EndsWith('\n') ? source[..^1] : source);
        lexer.ReadTemplate();
        return lexer.tokens;
    }

    private void ReadTemplate()
    {
        while (at < source.Length)
        {
            var open = NextOpening();
            if (open < 0)
            {
                Add(JinjaTokenKind.Text, source[at..]);
                at = source.Length;
                break;
            }

            var kind = source[open + 1];
            var sign = open + 2 < source.Length && source[open + 2] is '-' or '+' ? source[open + 2] : ' ';
            AddText(open, kind, sign);
            at = open;
            if (kind == '#')
            {
                SkipComment(open + (sign == ' ' ? 2 : 3));
            }
            else if (kind == '%' && RawOpening().Match(source, at) is { Success: true, Index: var index } raw && index == at)
            {
                ReadRaw(raw);
            }
            else
            {
                Add(kind == '%' ? JinjaTokenKind.BlockBegin : JinjaTokenKind.VariableBegin, source.Substring(at, 2));
                at += sign == ' ' ? 2 : 3;
                ReadCode(kind);
            }
        }

        Add(JinjaTokenKind.End, "");
    }

    private int NextOpening()
    {
        for (var open = source.IndexOf('{', at); open >= 0 && open + 1 < source.Length; open = source.IndexOf('{', open + 1))
        {
            if (source[open + 1] is '{' or '%' or '#')
            {
                return open;
            }
        }

        return -1;
    }

    /// <summary>The text before a tag, with the blanks taken off that the tag takes.</summary>
    private void AddText(int open, char kind, char sign)
    {
        var text = source[at..open];
        if (sign == '-')
        {
            text = text.TrimEnd();
        }
        else if (sign != '+' && kind != '{')
        {
            var lineStart = text.LastIndexOf('\n') + 1;
            var beginsLine = lineStart > 0 || at == 0 || source[at - 1] == '\n';
            text = beginsLine && string.IsNullOrWhiteSpace(text[lineStart..]) ? text[..lineStart] : text;
        }

        if (text.Length > 0)
        {
            Add(JinjaTokenKind.Text, text);
        }
    }

    private void SkipComment(int start)
    {
        var close = source.IndexOf("#}", start, StringComparison.Ordinal);
        if (close < 0)
        {
            throw new JinjaException("a comment is never closed: expected '#}'", LineAt(at));
        }

        at = close + 2;
        SkipAfterTag(close > start ? source[close - 1] : ' ');
    }

    private void ReadRaw(Match opening)
    {
        var start = at + opening.Length;
        var closing = RawClosing().Match(source, start);
        if (!closing.Success)
        {
            throw new JinjaException("a raw block is never closed: expected '{% endraw %}'", LineAt(at));
        }

        at = start;
        AddText(closing.Index, '%', closing.Groups[1].Value is [var sign] ? sign : ' ');
        at = closing.Index + closing.Length;
        SkipAfterTag(closing.Groups[2].Value is [var end] ? end : ' ');
    }

    /// <summary>What follows a block's or comment's end: '-' takes all white space, '+' none, else one newline goes.</summary>
    private void SkipAfterTag(char sign)
    {
        if (sign == '-')
        {
            SkipWhiteSpace();
        }
        else if (sign != '+' && at < source.Length && source[at] == '\n')
        {
            at++;
        }
    }

    private void ReadCode(char kind)
    {
        var closing = kind == '%' ? "%}" : "}}";
        var brackets = new Stack<char>();
        while (true)
        {
            SkipWhiteSpace();
            if (at >= source.Length)
            {
                return; // the parser says what is missing
            }

            if (brackets.Count == 0 && TryEnd(closing, kind))
            {
                return;
            }

            var character = source[at];
            if (character is '\'' or '"')
            {
                ReadString(character);
            }
            else if (char.IsAsciiDigit(character))
            {
                ReadNumber();
            }
            else if (char.IsLetter(character) || character == '_')
            {
                var start = at;
                while (at < source.Length && (char.IsLetterOrDigit(source[at]) || source[at] == '_'))
                {
                    at++;
                }

                Add(JinjaTokenKind.Name, source[start..at], start);
            }
            else
            {
                ReadOperator(brackets);
            }
        }
    }

    private bool TryEnd(string closing, char kind)
    {
        var sign = source[at] is '-' or '+' && (kind == '%' || source[at] == '-') ? source[at] : ' ';
        var start = sign == ' ' ? at : at + 1;
        if (string.CompareOrdinal(source, start, closing, 0, 2) != 0)
        {
            return false;
        }

        Add(kind == '%' ? JinjaTokenKind.BlockEnd : JinjaTokenKind.VariableEnd, closing);
        at = start + 2;
        SkipAfterTag(kind == '{' && sign == ' ' ? '+' : sign);
        return true;
    }

    private void ReadOperator(Stack<char> brackets)
    {
        var symbol = Array.Find(Operators, candidate => string.CompareOrdinal(source, at, candidate, 0, candidate.Length) == 0)
            ?? throw new JinjaException($"unexpected character '{source[at]}'", LineAt(at));
        switch (symbol)
        {
            case "(" or "[" or "{":
                brackets.Push(symbol[0] == '(' ? ')' : symbol[0] == '[' ? ']' : '}');
                break;
            case ")" or "]" or "}":
                if (!brackets.TryPop(out var expected) || expected != symbol[0])
                {
                    throw new JinjaException(expected == 0 ? $"unexpected '{symbol}'" : $"expected '{expected}', found '{symbol}'", LineAt(at));
                }

                break;
        }

        Add(JinjaTokenKind.Operator, symbol);
        at += symbol.Length;
    }

    private void ReadNumber()
    {
        var isMember = at > 0 && source[at - 1] == '.'; // a.0.1 is two steps, not a fraction
        if (!isMember && RadixNumber().Match(source, at) is { Success: true } radix)
        {
            var digits = radix.Value[2..].Replace("_", "", StringComparison.Ordinal);
            var value = digits.Aggregate(System.Numerics.BigInteger.Zero, (sum, digit) => (sum * (char.ToLowerInvariant(source[at + 1]) switch { 'x' => 16, 'o' => 8, _ => 2 })) + Convert.ToInt32(digit.ToString(), 16));
            Add(JinjaTokenKind.Integer, value.ToString(System.Globalization.CultureInfo.InvariantCulture));
            at += radix.Length;
            return;
        }

        var match = (isMember ? Digits() : Number()).Match(source, at);
        var isFloat = match.Groups[1].Success || match.Groups[2].Success;
        Add(isFloat ? JinjaTokenKind.Float : JinjaTokenKind.Integer, match.Value.Replace("_", "", StringComparison.Ordinal));
        at += match.Length;
    }

    private void ReadString(char quote)
    {
        var start = at++;
        var value = new StringBuilder();
        while (at < source.Length && source[at] != quote)
        {
            if (source[at] == '\\' && at + 1 < source.Length)
            {
                at++;
                ReadEscape(value);
            }
            else
            {
                value.Append(source[at++]);
            }
        }

        if (at >= source.Length)
        {
            throw new JinjaException($"a string is never closed: expected {quote}", LineAt(start));
        }

        at++;
        Add(JinjaTokenKind.String, value.ToString(), start);
    }

    /// <summary>As in Python; an escape Python does not know keeps its backslash.</summary>
    private void ReadEscape(StringBuilder value)
    {
        const string Simple = "n\nt\tr\rb\bf\fa\av\v\\\\''\"\"";
        var letter = source[at++];
        if (Simple.IndexOf(letter, StringComparison.Ordinal) is >= 0 and var index && index % 2 == 0)
        {
            value.Append(Simple[index + 1]);
        }
        else if (letter is 'x' or 'u' or 'U')
        {
            var digits = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
            if (at + digits > source.Length
                || !int.TryParse(source.AsSpan(at, digits), System.Globalization.NumberStyles.AllowHexSpecifier, null, out var codePoint) || codePoint is < 0 or > 0x10FFFF)
            {
                throw new JinjaException($@"the escape \{letter} needs {digits} hex digits that name a character", LineAt(at));
            }

            at += digits;
            _ = codePoint > 0xFFFF ? value.Append(new Rune(codePoint)) : value.Append((char)codePoint);
        }
        else if (letter is >= '0' and <= '7')
        {
            var code = letter - '0';
            for (var digits = 1; digits < 3 && at < source.Length && source[at] is >= '0' and <= '7'; digits++)
            {
                code = (code * 8) + source[at++] - '0';
            }

            value.Append((char)code);
        }
        else if (letter != '\n')
        {
            value.Append('\\').Append(letter);
        }
    }

    private void SkipWhiteSpace()
    {
        while (at < source.Length && char.IsWhiteSpace(source[at]))
        {
            at++;
        }
    }

    private void Add(JinjaTokenKind kind, string text, int? start = null) => tokens.Add(new JinjaToken(kind, text, LineAt(start ?? at)));

    /// <summary>Positions must not decrease from call to call.</summary>
    private int LineAt(int position)
    {
        for (; lineCounted < position; lineCounted++)
        {
            line += source[lineCounted] == '\n' ? 1 : 0;
        }

        return line;
    }

    [GeneratedRegex(@"\G\{%[-+]?\s*raw\s*(?:-%\}\s*|%\})")]
    private static partial Regex RawOpening();

    [GeneratedRegex(@"\{%([-+]?)\s*endraw\s*([-+]?)%\}")]
    private static partial Regex RawClosing();

    [GeneratedRegex(@"\G0(?:[xX](?:_?[0-9a-fA-F]){1,200}|[oO](?:_?[0-7]){1,200}|[bB](?:_?[01]){1,200})")]
    private static partial Regex RadixNumber();

    [GeneratedRegex(@"\G\d+")]
    private static partial Regex Digits();

    [GeneratedRegex(@"\G\d[\d_]*(?:(\.\d[\d_]*(?:[eE][+-]?\d+)?)|([eE][+-]?\d+))?")]
    private static partial Regex Number();
}
