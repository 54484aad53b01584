using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// .NET matches regexes over UTF-16 units, so no class matches a surrogate pair. Patterns are therefore run over text in which
/// every code point beyond the BMP is one private-use character standing for all code points that the pattern cannot tell
/// apart: those of one general category between two neighbouring <paramref name="cuts"/>. Real private-use characters are
/// mapped the same way, so that none is mistaken for a stand-in.
/// </summary>
/// <param name="cuts">Code points at which a range written in the pattern begins, or has just ended; sorted.</param>
internal sealed class CodePointClasses(int[] cuts)
{
    public const char FirstMapped = '\uE000', LastMapped = '\uF8FF';
    public const int Categories = 30;
    public const int MaxCuts = ((LastMapped - FirstMapped + 1) / Categories) - 1;

    /// <summary>Whether the code point is one that text handed to the regex never holds as itself.</summary>
    public static bool IsMapped(int codePoint) => codePoint is (>= FirstMapped and <= LastMapped) or > 0xFFFF;

    /// <summary>Whether the text must be mapped before it is matched.</summary>
    public static bool NeedsMapping(ReadOnlySpan<char> text) => text.IndexOfAnyInRange('\uD800', LastMapped) >= 0;

    /// <summary>Writes one character a code point and returns how many.</summary>
    /// <param name="mapped">At least as long as the text.</param>
    public int Map(ReadOnlySpan<char> text, Span<char> mapped)
    {
        var count = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            mapped[count++] = IsMapped(rune.Value)
                ? (char)(FirstMapped + (IntervalOf(rune.Value) * Categories) + (int)Rune.GetUnicodeCategory(rune))
                : (char)rune.Value;
        }

        return count;
    }

    /// <summary>Appends, as items of a character class, the stand-ins of the given categories within first..last.</summary>
    public void Append(StringBuilder items, uint categoryMask, int first = 0, int last = 0x10FFFF)
    {
        for (var interval = 0; interval <= cuts.Length; interval++)
        {
            var (begin, end) = (interval == 0 ? 0 : cuts[interval - 1], interval == cuts.Length ? 0x110000 : cuts[interval]);
            if (begin > last || end <= first)
            {
                continue;
            }

            for (var category = 0; category < Categories; category++)
            {
                if ((categoryMask >> category & 1) == 0)
                {
                    continue;
                }

                var run = category;
                while (run + 1 < Categories && (categoryMask >> (run + 1) & 1) != 0)
                {
                    run++;
                }

                var origin = FirstMapped + (interval * Categories);
                items.Append(CultureInfo.InvariantCulture, $@"\u{origin + category:X4}-\u{origin + run:X4}");
                category = run;
            }
        }
    }

    private int IntervalOf(int codePoint)
    {
        var index = Array.BinarySearch(cuts, codePoint);
        return index >= 0 ? index + 1 : ~index;
    }
}
