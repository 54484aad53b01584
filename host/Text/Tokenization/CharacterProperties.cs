using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>What a name in \p{...} or [:...:] stands for.</summary>
internal static class CharacterProperties
{
    public const uint AllCategories = (1u << CodePointClasses.Categories) - 1;
    public const uint Digit = 1u << (int)UnicodeCategory.DecimalDigitNumber;

    // In the order of UnicodeCategory.
    private static readonly string[] ShortNames =
    [
        "lu", "ll", "lt", "lm", "lo", "mn", "mc", "me", "nd", "nl", "no", "zs", "zl", "zp", "cc", "cf", "cs", "co",
        "pc", "pd", "ps", "pe", "pi", "pf", "po", "sm", "sc", "sk", "so", "cn",
    ];

    private static readonly Dictionary<string, string> LongNames = new()
    {
        ["letter"] = "l",
        ["mark"] = "m",
        ["number"] = "n",
        ["punctuation"] = "p",
        ["symbol"] = "s",
        ["separator"] = "z",
        ["other"] = "c",
        ["uppercaseletter"] = "lu",
        ["lowercaseletter"] = "ll",
        ["titlecaseletter"] = "lt",
        ["modifierletter"] = "lm",
        ["otherletter"] = "lo",
        ["decimalnumber"] = "nd",
        ["letternumber"] = "nl",
        ["othernumber"] = "no",
        ["spaceseparator"] = "zs",
        ["digit"] = "nd",
        ["nonspacingmark"] = "mn",
        ["spacingmark"] = "mc",
        ["enclosingmark"] = "me",
        ["control"] = "cc",
        ["format"] = "cf",
    };

    /// <summary>Scripts as inclusive ranges (Unicode 15.1, Scripts.txt). The others are not worth their tables until a tokenizer asks.</summary>
    private static readonly Dictionary<string, (int First, int Last)[]> Scripts = new()
    {
        ["han"] =
        [
            (0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B),
            (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFA6D), (0xFA70, 0xFAD9), (0x16FE2, 0x16FE3), (0x16FF0, 0x16FF1),
            (0x20000, 0x2A6DF), (0x2A700, 0x2B739), (0x2B740, 0x2B81D), (0x2B820, 0x2CEA1), (0x2CEB0, 0x2EBE0), (0x2EBF0, 0x2EE5D),
            (0x2F800, 0x2FA1D), (0x30000, 0x3134A), (0x31350, 0x323AF),
        ],
    };

    /// <summary>Letters, marks, numbers and connector punctuation: \w.</summary>
    public static uint Word { get; } = Mask("l")!.Value | Mask("m")!.Value | Mask("nd")!.Value | Mask("nl")!.Value | Mask("pc")!.Value;

    /// <summary>The categories of a name such as L, Lu or Letter as a bit mask, or null.</summary>
    public static uint? Mask(string name)
    {
        var key = Key(name);
        key = LongNames.GetValueOrDefault(key, key);
        if (key == "any")
        {
            return AllCategories;
        }

        var mask = 0u;
        for (var category = 0; category < ShortNames.Length; category++)
        {
            if (key.Length is 1 or 2 && ShortNames[category].StartsWith(key, StringComparison.Ordinal))
            {
                mask |= 1u << category;
            }
        }

        return mask == 0 ? null : mask;
    }

    public static (int First, int Last)[]? Script(string name) => Scripts.GetValueOrDefault(Key(name));

    /// <summary>Appends the categories as items of a .NET character class. Private use is left to the stand-ins.</summary>
    public static void AppendNative(StringBuilder items, uint mask)
    {
        for (var category = 0; category < ShortNames.Length; category++)
        {
            var major = Mask(ShortNames[category][..1])!.Value;
            if (category != (int)UnicodeCategory.PrivateUse && (mask >> category & 1) != 0)
            {
                var whole = (mask & major) == major && ShortNames[category][0] != 'c';
                if (!whole || category == System.Numerics.BitOperations.TrailingZeroCount(major))
                {
                    var name = ShortNames[category];
                    items.Append(@"\p{").Append(char.ToUpperInvariant(name[0])).Append(whole ? "" : name[1..]).Append('}');
                }
            }
        }
    }

    private static string Key(string name) =>
        string.Concat(name.Where(character => character is not (' ' or '_' or '-'))).ToLowerInvariant();
}
