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

    public void AppendMask(StringBuilder items, uint mask)
    {
        CharacterProperties.AppendNative(items, mask);
        if (mapped)
        {
            classes.Append(items, mask & CharacterProperties.AllCategories);
        }

        _ = items.Length > 0 ? items : items.Append(Nothing);
    }

    /// <summary>The property of \p{name}; false if there is none of that name.</summary>
    public bool TryAppendProperty(StringBuilder items, string name, bool negated)
    {
        if (CharacterProperties.Mask(name) is { } mask)
        {
            AppendMask(items, negated ? ~mask : mask);
            return true;
        }

        var ranges = negated ? null : CharacterProperties.Script(name);
        foreach (var (first, last) in ranges ?? [])
        {
            AppendRange(items, first, last);
        }

        return ranges is not null;
    }

    /// <summary>The class of [:name:]; false if there is none of that name.</summary>
    public bool TryAppendPosix(StringBuilder items, string name)
    {
        if (name == "space")
        {
            items.Append(@"\s");
            return true;
        }

        uint? mask = name switch
        {
            "alpha" => CharacterProperties.Mask("l") | CharacterProperties.Mask("m"),
            "alnum" => CharacterProperties.Mask("l") | CharacterProperties.Mask("m") | CharacterProperties.Digit,
            "digit" => CharacterProperties.Digit,
            "upper" => CharacterProperties.Mask("lu"),
            "lower" => CharacterProperties.Mask("ll"),
            "cntrl" => CharacterProperties.Mask("cc"),
            "word" => CharacterProperties.Word,
            _ => null,
        };
        if (mask is { } known)
        {
            AppendMask(items, known);
        }

        return mask is not null;
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
