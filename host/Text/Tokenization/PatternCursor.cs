using System.Globalization;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A regex's text and how far it has been read.</summary>
internal sealed class PatternCursor(string source)
{
    /// <summary>Groups and classes nested deeper than this are refused.</summary>
    public const int MaxDepth = 50;

    public string Source => source;

    public int At { get; set; }

    public bool AtEnd => At >= source.Length;

    /// <summary>The next character; not at the end.</summary>
    public char Next => source[At];

    public bool Take(string text)
    {
        if (string.CompareOrdinal(source, At, text, 0, text.Length) != 0)
        {
            return false;
        }

        At += text.Length;
        return true;
    }

    public int TakeCodePoint()
    {
        var codePoint = char.IsSurrogatePair(source, At) ? char.ConvertToUtf32(source[At], source[At + 1]) : source[At];
        At += codePoint > 0xFFFF ? 2 : 1;
        return codePoint;
    }

    public int HexDigits(int least, int most)
    {
        var start = At;
        while (At < source.Length && At - start < most && char.IsAsciiHexDigit(source[At]))
        {
            At++;
        }

        return At - start >= least
            ? int.Parse(source.AsSpan(start, At - start), NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            : throw Malformed("an escape with too few hex digits");
    }

    public ArgumentException Malformed(string what) => new($"at character {At}: {what}");
}
