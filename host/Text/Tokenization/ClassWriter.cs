using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Writes the items of .NET character classes for text mapped by <see cref="CodePointClasses"/>, and notes what ranges it is asked for.</summary>
/// <param name="mapped">False for text that holds no stand-ins, which makes leaner classes.</param>
internal sealed class ClassWriter(CodePointClasses classes, bool mapped)
{
    /// <summary>An item for what cannot occur, where there would be none.</summary>
    private const string Nothing = @"\uE000-\uE000";

    private readonly SortedSet<int> cuts = [];

    /// <summary>The ends of all ranges so far that reach into mapped code points.</summary>
    public IReadOnlyCollection<int> Cuts => cuts;

    public void AppendRange(StringBuilder items, int first, int last)
    {
        if (last >= CodePointClasses.FirstMapped && (first <= CodePointClasses.LastMapped || last > 0xFFFF))
        {
            cuts.Add(first);
            cuts.Add(last + 1);
            if (mapped)
            {
                classes.Append(items, CharacterProperties.AllCategories, first, last);
            }
        }

        AppendPlain(items, first, Math.Min(last, CodePointClasses.FirstMapped - 1));
        AppendPlain(items, Math.Max(first, CodePointClasses.LastMapped + 1), Math.Min(last, 0xFFFF));
        _ = items.Length > 0 ? items : items.Append(Nothing);
    }

    /// <summary>What equals a code point of the range but for case, within the BMP.</summary>
    public static void AppendCaseVariants(StringBuilder items, int first, int last)
    {
        for (var codePoint = first; codePoint <= Math.Min(last, 0xFFFF); codePoint++)
        {
            foreach (var variant in CaseFolding.Equivalents((char)codePoint).Where(variant => variant < first || variant > last))
            {
                AppendPlain(items, variant, variant);
            }
        }
    }

    public void AppendSet(StringBuilder items, CharacterSet set)
    {
        var whole = set.Mask;
        if (set.Excluded.Length > 0)
        {
            // Categories with exceptions are spelled out as ranges.
            var broken = set.Mask & CategoriesOf(set.Excluded);
            whole &= ~broken;
            foreach (var (first, last) in Gaps(set.Excluded))
            {
                AppendCategories(items, broken, first, last);
            }
        }

        CharacterProperties.AppendNative(items, whole);
        if (mapped)
        {
            classes.Append(items, whole);
        }

        foreach (var (first, last) in set.Included)
        {
            AppendRange(items, first, last);
        }

        _ = items.Length > 0 ? items : items.Append(Nothing);
    }

    /// <summary>The property of \p{name}; false if there is none of that name.</summary>
    public bool TryAppendProperty(StringBuilder items, string name, bool negated)
    {
        if (CharacterProperties.Set(name) is { } set)
        {
            AppendSet(items, negated ? set.Negate() : set);
            return true;
        }

        var ranges = CharacterProperties.Script(name);
        foreach (var (first, last) in ranges is null ? [] : negated ? Gaps(ranges) : ranges)
        {
            AppendRange(items, first, last);
        }

        return ranges is not null;
    }

    /// <summary>The class of [:name:]; false if there is none of that name.</summary>
    public bool TryAppendPosix(StringBuilder items, string name)
    {
        switch (name)
        {
            case "space":
                items.Append(@"\s");
                return true;
            case "xdigit":
                items.Append("0-9A-Fa-f");
                return true;
            case "blank":
                items.Append(@"\p{Zs}\t");
                return true;
            default:
                var set = CharacterProperties.PosixSet(name.TrimStart('^'));
                if (set is not null)
                {
                    AppendSet(items, name.StartsWith('^') ? set.Negate() : set);
                }

                return set is not null;
        }
    }

    private static uint CategoriesOf((int First, int Last)[] ranges) =>
        ranges.SelectMany(range => Enumerable.Range(range.First, range.Last - range.First + 1))
            .Aggregate(0u, (mask, codePoint) => mask | (1u << (int)CharUnicodeInfo.GetUnicodeCategory(codePoint)));

    private static IEnumerable<(int First, int Last)> Gaps((int First, int Last)[] ranges)
    {
        var next = 0;
        foreach (var (first, last) in ranges.Order())
        {
            if (first > next)
            {
                yield return (next, first - 1);
            }

            next = last + 1;
        }

        if (next <= 0x10FFFF)
        {
            yield return (next, 0x10FFFF);
        }
    }

    /// <summary>The code points of the categories within a range.</summary>
    private void AppendCategories(StringBuilder items, uint mask, int first, int last)
    {
        if (last > 0xFFFF)
        {
            cuts.Add(Math.Max(first, 0x10000));
            cuts.Add(last + 1);
            if (mapped)
            {
                classes.Append(items, mask, Math.Max(first, 0x10000), last);
            }
        }

        for (var codePoint = first; codePoint <= Math.Min(last, 0xFFFF); codePoint++)
        {
            var start = codePoint;
            while (codePoint <= Math.Min(last, 0xFFFF) && !CodePointClasses.IsMapped(codePoint) && (mask >> (int)CharUnicodeInfo.GetUnicodeCategory(codePoint) & 1) != 0)
            {
                codePoint++;
            }

            AppendPlain(items, start, codePoint - 1);
        }
    }

    private static void AppendPlain(StringBuilder items, int first, int last)
    {
        if (first <= last)
        {
            items.Append(CultureInfo.InvariantCulture, $@"\u{first:X4}");
            if (last > first)
            {
                items.Append(CultureInfo.InvariantCulture, $@"-\u{last:X4}");
            }
        }
    }
}
