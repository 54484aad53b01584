using System.Buffers;
using System.Text;
using System.Text.RegularExpressions;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Receives the matches of a pattern, in order, as half-open ranges of the text.</summary>
internal interface IMatchSink
{
    void Match(int start, int end);
}

/// <summary>What a Split or Replace looks for: a string or a regex. Immutable.</summary>
internal abstract class TextPattern
{
    public abstract void Find<TSink>(ReadOnlySpan<char> text, ref TSink sink)
        where TSink : IMatchSink, allows ref struct;

    public string Replace(string text, string content)
    {
        var sink = new ReplacingSink(text, content);
        Find(text, ref sink);
        return sink.Finish();
    }

    /// <param name="spot">{"String": ...} or {"Regex": ...}</param>
    public static TextPattern Read(JsonSpot spot)
    {
        if (spot.Optional("String") is { } literal)
        {
            return literal.Text() is { Length: > 0 } text ? new LiteralPattern(text) : throw literal.Error("a string that is not empty", "\"\"");
        }

        var regex = spot["Regex"];
        try
        {
            return new RegexPattern(regex.Text());
        }
        catch (ArgumentException error)
        {
            throw regex.Unsupported($"the regex {regex.Found()} ({error.Message})", "Oniguruma's Ruby syntax without back references, named groups and scripts other than Han");
        }
    }

    private struct ReplacingSink(string text, string content) : IMatchSink
    {
        private readonly StringBuilder result = new(text.Length);
        private int copied;

        public void Match(int start, int end)
        {
            result.Append(text, copied, start - copied).Append(content);
            copied = end;
        }

        public readonly string Finish() => copied == 0 && result.Length == 0 ? text : result.Append(text, copied, text.Length - copied).ToString();
    }
}

internal sealed class LiteralPattern(string literal) : TextPattern
{
    public override void Find<TSink>(ReadOnlySpan<char> text, ref TSink sink)
    {
        for (var start = 0; text[start..].IndexOf(literal, StringComparison.Ordinal) is >= 0 and var skipped;)
        {
            start += skipped + literal.Length;
            sink.Match(start - literal.Length, start);
        }
    }
}

/// <summary>Each code point of a set.</summary>
internal sealed class SetPattern(CharacterSet set) : TextPattern
{
    public override void Find<TSink>(ReadOnlySpan<char> text, ref TSink sink)
    {
        var at = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            if (set.Contains(rune))
            {
                sink.Match(at, at + rune.Utf16SequenceLength);
            }

            at += rune.Utf16SequenceLength;
        }
    }
}

/// <summary>An Oniguruma regex, matched over code points.</summary>
internal sealed class RegexPattern : TextPattern
{
    private readonly CodePointClasses classes;
    private readonly Regex plain;
    private readonly Lazy<Regex> mapped;

    /// <exception cref="ArgumentException">The pattern is malformed or uses what is not supported.</exception>
    public RegexPattern(string source)
    {
        classes = OnigurumaPattern.Classes(source);
        plain = OnigurumaPattern.Compile(source, classes, mapped: false);
        mapped = new Lazy<Regex>(() => OnigurumaPattern.Compile(source, classes, mapped: true));
    }

    public override void Find<TSink>(ReadOnlySpan<char> text, ref TSink sink)
    {
        if (!CodePointClasses.NeedsMapping(text))
        {
            foreach (var match in plain.EnumerateMatches(text))
            {
                sink.Match(match.Index, match.Index + match.Length);
            }

            return;
        }

        var buffer = ArrayPool<char>.Shared.Rent(text.Length);
        var length = classes.Map(text, buffer);
        var (position, original) = (0, 0);
        foreach (var match in mapped.Value.EnumerateMatches(buffer.AsSpan(0, length)))
        {
            Advance(text, match.Index, ref position, ref original);
            var start = original;
            Advance(text, match.Index + match.Length, ref position, ref original);
            sink.Match(start, original);
        }

        ArrayPool<char>.Shared.Return(buffer);
    }

    /// <summary>Walks both texts to a position of the mapped one, whose characters are whole code points.</summary>
    private static void Advance(ReadOnlySpan<char> text, int target, ref int position, ref int original)
    {
        for (; position < target; position++)
        {
            original += char.IsHighSurrogate(text[original]) ? 2 : 1;
        }
    }
}
