using System.Buffers;
using System.Collections.Frozen;
using System.Text;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Python's str.upper(), lower(), capitalize() and title(): full case mappings, which can be longer than what they map.</summary>
internal static class PythonCase
{
    private const char Sigma = '\u03A3', FinalSigma = '\u03C2', SmallSigma = '\u03C3';

    /// <summary>Letters whose upper case is several letters (SpecialCasing.txt), each before its upper case.</summary>
    private const string Expanding =
        "\u00DF\u0053\u0053 \u0149\u02BC\u004E \u01F0\u004A\u030C \u0390\u0399\u0308\u0301 \u03B0\u03A5\u0308\u0301 \u0587\u0535\u0552 "
        + "\u1E96\u0048\u0331 \u1E97\u0054\u0308 \u1E98\u0057\u030A \u1E99\u0059\u030A \u1E9A\u0041\u02BE \u1F50\u03A5\u0313 "
        + "\u1F52\u03A5\u0313\u0300 \u1F54\u03A5\u0313\u0301 \u1F56\u03A5\u0313\u0342 \u1F80\u1F08\u0399 \u1F81\u1F09\u0399 "
        + "\u1F82\u1F0A\u0399 \u1F83\u1F0B\u0399 \u1F84\u1F0C\u0399 \u1F85\u1F0D\u0399 \u1F86\u1F0E\u0399 \u1F87\u1F0F\u0399 "
        + "\u1F88\u1F08\u0399 \u1F89\u1F09\u0399 \u1F8A\u1F0A\u0399 \u1F8B\u1F0B\u0399 \u1F8C\u1F0C\u0399 \u1F8D\u1F0D\u0399 "
        + "\u1F8E\u1F0E\u0399 \u1F8F\u1F0F\u0399 \u1F90\u1F28\u0399 \u1F91\u1F29\u0399 \u1F92\u1F2A\u0399 \u1F93\u1F2B\u0399 "
        + "\u1F94\u1F2C\u0399 \u1F95\u1F2D\u0399 \u1F96\u1F2E\u0399 \u1F97\u1F2F\u0399 \u1F98\u1F28\u0399 \u1F99\u1F29\u0399 "
        + "\u1F9A\u1F2A\u0399 \u1F9B\u1F2B\u0399 \u1F9C\u1F2C\u0399 \u1F9D\u1F2D\u0399 \u1F9E\u1F2E\u0399 \u1F9F\u1F2F\u0399 "
        + "\u1FA0\u1F68\u0399 \u1FA1\u1F69\u0399 \u1FA2\u1F6A\u0399 \u1FA3\u1F6B\u0399 \u1FA4\u1F6C\u0399 \u1FA5\u1F6D\u0399 "
        + "\u1FA6\u1F6E\u0399 \u1FA7\u1F6F\u0399 \u1FA8\u1F68\u0399 \u1FA9\u1F69\u0399 \u1FAA\u1F6A\u0399 \u1FAB\u1F6B\u0399 "
        + "\u1FAC\u1F6C\u0399 \u1FAD\u1F6D\u0399 \u1FAE\u1F6E\u0399 \u1FAF\u1F6F\u0399 \u1FB2\u1FBA\u0399 \u1FB3\u0391\u0399 "
        + "\u1FB4\u0386\u0399 \u1FB6\u0391\u0342 \u1FB7\u0391\u0342\u0399 \u1FBC\u0391\u0399 \u1FC2\u1FCA\u0399 \u1FC3\u0397\u0399 "
        + "\u1FC4\u0389\u0399 \u1FC6\u0397\u0342 \u1FC7\u0397\u0342\u0399 \u1FCC\u0397\u0399 \u1FD2\u0399\u0308\u0300 "
        + "\u1FD3\u0399\u0308\u0301 \u1FD6\u0399\u0342 \u1FD7\u0399\u0308\u0342 \u1FE2\u03A5\u0308\u0300 \u1FE3\u03A5\u0308\u0301 "
        + "\u1FE4\u03A1\u0313 \u1FE6\u03A5\u0342 \u1FE7\u03A5\u0308\u0342 \u1FF2\u1FFA\u0399 \u1FF3\u03A9\u0399 \u1FF4\u038F\u0399 "
        + "\u1FF6\u03A9\u0342 \u1FF7\u03A9\u0342\u0399 \u1FFC\u03A9\u0399 \uFB00\u0046\u0046 \uFB01\u0046\u0049 \uFB02\u0046\u004C "
        + "\uFB03\u0046\u0046\u0049 \uFB04\u0046\u0046\u004C \uFB05\u0053\u0054 \uFB06\u0053\u0054 \uFB13\u0544\u0546 \uFB14\u0544\u0535 "
        + "\uFB15\u0544\u053B \uFB16\u054E\u0546 \uFB17\u0544\u053D ";

    /// <summary>The letters that are two in one, in their three cases.</summary>
    private static readonly string[] Digraphs = ["\u01C4\u01C5\u01C6", "\u01C7\u01C8\u01C9", "\u01CA\u01CB\u01CC", "\u01F1\u01F2\u01F3"];

    private static readonly FrozenDictionary<char, string> Uppers = Expanding.Split(' ', StringSplitOptions.RemoveEmptyEntries).ToFrozenDictionary(entry => entry[0], entry => entry[1..]);

    private static readonly SearchValues<char> Special = SearchValues.Create([.. Uppers.Keys, Sigma, '\u0130', '\u0131', '\u017F', .. string.Concat(Digraphs)]);

    public static string Upper(string text) => IsPlain(text) ? text.ToUpperInvariant() : string.Concat(text.EnumerateRunes().Select(UpperOf));

    public static string Lower(string text)
    {
        if (IsPlain(text))
        {
            return text.ToLowerInvariant();
        }

        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            _ = text[i] switch
            {
                Sigma => result.Append(IsFinal(text, i) ? FinalSigma : SmallSigma),
                '\u0130' => result.Append("i\u0307"),
                _ => result.Append(text[i]),
            };
        }

        return result.ToString().ToLowerInvariant();
    }

    public static string Capitalize(string text)
    {
        if (text.Length == 0)
        {
            return text;
        }

        // What follows is lowered where it stands, so that the end of a word is one.
        var first = Rune.GetRuneAt(text, 0);
        var lowered = Lower(text);
        return TitleOf(first) + lowered[Lower(first.ToString()).Length..];
    }

    /// <summary>The first letter of each run of letters.</summary>
    public static string Title(string text)
    {
        var result = new StringBuilder(text.Length);
        var inside = false;
        var at = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            _ = inside ? result.Append(rune.Value == Sigma ? IsFinal(text, at) ? FinalSigma : SmallSigma : Lower(rune.ToString())) : result.Append(TitleOf(rune));
            inside = IsCased(rune);
            at += rune.Utf16SequenceLength;
        }

        return result.ToString();
    }

    private static bool IsPlain(string text) => !text.AsSpan().ContainsAny(Special);

    private static string UpperOf(Rune rune) => rune.Value switch
    {
        '\u0131' => "I",
        '\u017F' => "S",
        < 0x10000 when Uppers.TryGetValue((char)rune.Value, out var upper) => upper,
        _ => Rune.ToUpperInvariant(rune).ToString(),
    };

    private static string TitleOf(Rune rune)
    {
        if (rune.IsBmp && Array.Find(Digraphs, cases => cases.Contains((char)rune.Value)) is { } cases)
        {
            return cases[1].ToString();
        }

        var upper = UpperOf(rune);
        return rune.Value switch
        {
            >= 0x10D0 and <= 0x10FF => rune.ToString(), // Georgian has no title case
            0x0149 => upper,
            >= 0x1F80 and <= 0x1FFF when Rune.ToUpperInvariant(rune) is var simple && simple != rune => simple.ToString(),
            >= 0x1F80 and <= 0x1FFF when upper.Length > 1 => upper.Replace('\u0399', '\u0345')[1..].Insert(0, upper[..1]), // an iota is written below
            _ => upper.Length > rune.Utf16SequenceLength ? upper[0] + Lower(upper[1..]) : upper,
        };
    }

    /// <summary>A sigma at the end of a word: after a letter, and with none after it.</summary>
    private static bool IsFinal(string text, int at)
    {
        var before = text.AsSpan(0, at);
        var after = text.AsSpan(at + 1);
        Rune letter;
        int length;
        while (Rune.DecodeLastFromUtf16(before, out letter, out length) == OperationStatus.Done && IsIgnored(letter))
        {
            before = before[..^length];
        }

        if (!IsCased(letter))
        {
            return false;
        }

        while (Rune.DecodeFromUtf16(after, out letter, out length) == OperationStatus.Done && IsIgnored(letter))
        {
            after = after[length..];
        }

        return after.IsEmpty || !IsCased(letter);
    }

    private static bool IsCased(Rune rune) => Rune.IsUpper(rune) || Rune.IsLower(rune) || Rune.GetUnicodeCategory(rune) == System.Globalization.UnicodeCategory.TitlecaseLetter;

    private static bool IsIgnored(Rune rune) => rune.Value is '\'' or '.' or ':' or '\u00B7' or '\u2019'
        || Rune.GetUnicodeCategory(rune) is System.Globalization.UnicodeCategory.NonSpacingMark or System.Globalization.UnicodeCategory.Format or System.Globalization.UnicodeCategory.ModifierLetter;
}
