using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Code points by general category, with exceptions. Ranges are inclusive.</summary>
/// <param name="Mask">A bit for each <see cref="UnicodeCategory"/>.</param>
/// <param name="Included">In the set whatever their category.</param>
/// <param name="Excluded">Not in the set though of a category in it.</param>
internal sealed record CharacterSet(uint Mask, (int First, int Last)[] Included, (int First, int Last)[] Excluded)
{
    public CharacterSet(uint mask)
        : this(mask, [], [])
    {
    }

    public bool Contains(Rune rune) =>
        (Mask >> (int)Rune.GetUnicodeCategory(rune) & 1) != 0 ? !IsIn(rune.Value, Excluded) : IsIn(rune.Value, Included);

    /// <summary>All that is not in the set. Included code points must be of no category in it, and excluded ones of one in it.</summary>
    public CharacterSet Negate() => new(~Mask & CharacterProperties.AllCategories, Excluded, Included);

    /// <param name="ranges">Hex code points and ranges, separated by spaces.</param>
    public static (int First, int Last)[] Ranges(string ranges) =>
    [
        .. ranges.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(range => range.Split('-')).Select(ends => (Hex(ends[0]), Hex(ends[^1]))),
    ];

    private static int Hex(string text) => int.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static bool IsIn(int codePoint, (int First, int Last)[] ranges) => Array.Exists(ranges, range => codePoint >= range.First && codePoint <= range.Last);
}
