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

    /// <summary>Letters in circles and squares: symbols by category, letters to [:alpha:] and \w.</summary>
    private const string EnclosedLetters = "24B6-24E9 1F130-1F149 1F150-1F169 1F170-1F189";

    /// <summary>Marks that are not Alphabetic (DerivedCoreProperties.txt).</summary>
    private const string NonAlphabeticMarks = """
        300-344 346-362 483-489 591-5AF 658 6DF-6E0 6EA-6EC 740-74A 7EB-7F3 7FD 818-819 82D 859-85B 898-89F 8CA-8D3 8E0-8E1 8EA-8EF 93C 94D 951-954
        9BC 9CD 9FE A3C A4D ABC ACD AFD-AFF B3C B4D B55 BCD C3C C4D CBC CCD D3B-D3C D4D DCA E47-E4C E4E EBA EC8-ECC ECE F18-F19 F35 F37 F39 F3E-F3F
        F84 F86-F87 FC6 1037 1039-103A 135D-135F 1714-1715 1734 17B4-17B5 17C9-17D3 17DD 180B-180D 180F 1939-193B 1A60 1A75-1A7C 1A7F 1AB0-1ABE
        1AC1-1ACB 1B34 1B44 1B6B-1B73 1BAA-1BAB 1BE6 1BF2-1BF3 1C37 1CD0-1CD2 1CD4-1CE8 1CED 1CF4 1CF7-1CF9 1DC0-1DD2 1DF5-1DFF 20D0-20F0 2CEF-2CF1
        2D7F 302A-302F 3099-309A A66F-A672 A67C-A67D A6F0-A6F1 A806 A82C A8C4 A8E0-A8F1 A92B-A92D A953 A9B3 A9C0 AABF AAC1 AAF6 ABEC-ABED FE00-FE0F
        FE20-FE2F 101FD 102E0 10A38-10A3A 10A3F 10AE5-10AE6 10D6A-10D6D 10EFD-10EFF 10F46-10F50 10F82-10F85 11046 11070 1107F 110B9-110BA 11133-11134
        11173 111C0 111C9-111CC 11235-11236 112E9-112EA 1133B-1133C 1134D 11366-1136C 11370-11374 113CE-113D0 113D2 113E1-113E2 11442 11446 1145E
        114C2-114C3 115BF-115C0 1163F 116B6-116B7 1172B 11839-1183A 1193D-1193E 11943 119E0 11A33-11A34 11A47 11A98-11A99 11C3F 11D42 11D44-11D45
        11D97 11F41-11F42 11F5A 13440 13447-13455 1612F 16AF0-16AF4 16B30-16B36 16FE4 1BC9D 1CF00-1CF2D 1CF30-1CF46 1D165-1D169 1D16D-1D172
        1D17B-1D182 1D185-1D18B 1D1AA-1D1AD 1D242-1D244 1DA00-1DA36 1DA3B-1DA6C 1DA75 1DA84 1DA9B-1DA9F 1DAA1-1DAAF 1E130-1E136 1E2AE 1E2EC-1E2EF
        1E4EC-1E4EF 1E5EE-1E5EF 1E8D0-1E8D6 1E944-1E946 1E948-1E94A E0100-E01EF
        """;

    private const string LowercaseNotByCategory = """
        AA BA 2B0-2B8 2C0-2C1 2E0-2E4 345 37A 10FC 1D2C-1D6A 1D78 1D9B-1DBF 2071 207F 2090-209C 2170-217F 24D0-24E9 2C7C-2C7D A69C-A69D A770 A7F2-A7F4
        A7F8-A7F9 AB5C-AB5F AB69 10780 10783-10785 10787-107B0 107B2-107BA 1E030-1E06D
        """;

    private const string UppercaseNotByCategory = "2160-216F 24B6-24CF 1F130-1F149 1F150-1F169 1F170-1F189";

    /// <summary>Punctuation that came after Unicode 8, whose tables the Punctuation step has.</summary>
    private const string NewPunctuation = """
        61D 9FD A76 C77 C84 1B4E-1B4F 1B7D-1B7F 2E43-2E4F 2E52-2E5D 10D6E 10EAD 10F55-10F59 10F86-10F89 113D4-113D5 113D7-113D8 1144B-1144F 1145A-1145B
        1145D 11660-1166C 116B9 1183B 11944-11946 119E2 11A3F-11A46 11A9A-11A9C 11A9E-11AA2 11B00-11B09 11BE1 11C41-11C45 11C70-11C71 11EF7-11EF8
        11F43-11F4F 11FFF 12FF1-12FF2 16D6D-16D6F 16E97-16E9A 16FE2 1E5FF 1E95E-1E95F
        """;

    private static readonly uint Letters = Mask("l")!.Value | Mask("m")!.Value | Mask("nl")!.Value;

    /// <summary>Letters, marks, digits, letter-like numbers and connector punctuation.</summary>
    public static CharacterSet PosixWord { get; } = new(Letters | Digit | Mask("pc")!.Value, CharacterSet.Ranges(EnclosedLetters), []);

    /// <summary>Oniguruma's \w: [:word:] and, for the sake of Latin-1, its superscript digits and fractions.</summary>
    public static CharacterSet Word { get; } = PosixWord with { Included = [.. PosixWord.Included, (0xB2, 0xB3), (0xB9, 0xB9), (0xBC, 0xBE)] };

    /// <summary>\w as Rust's regex crate has it, by which added tokens are single words: the joiners between emoji belong to words.</summary>
    public static CharacterSet RustWord { get; } = PosixWord with { Included = [.. PosixWord.Included, (0x200C, 0x200D)] };

    /// <summary>[:alpha:] and \p{Alphabetic}.</summary>
    public static CharacterSet Alphabetic { get; } = new(Letters, CharacterSet.Ranges(EnclosedLetters), CharacterSet.Ranges(NonAlphabeticMarks));

    public static CharacterSet Uppercase { get; } = new(Mask("lu")!.Value, CharacterSet.Ranges(UppercaseNotByCategory), []);

    public static CharacterSet Lowercase { get; } = new(Mask("ll")!.Value, CharacterSet.Ranges(LowercaseNotByCategory), []);

    /// <summary>What the Punctuation step cuts at: punctuation of Unicode 8, and all of ASCII's.</summary>
    public static CharacterSet Punctuation { get; } = new(
        Mask("p")!.Value,
        [.. CharacterSet.Ranges("24 2B 3C-3E 5E 60 7C 7E 166D 111C9")],
        CharacterSet.Ranges(NewPunctuation));

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

    /// <summary>The set of a name in \p{...} that is not a script's, or null.</summary>
    public static CharacterSet? Set(string name) => Key(name) switch
    {
        "alphabetic" or "alpha" => Alphabetic,
        "uppercase" or "upper" => Uppercase,
        "lowercase" or "lower" => Lowercase,
        var key => Mask(key) is { } mask ? new CharacterSet(mask) : null,
    };

    /// <summary>The set of a name in [:...:] where it is made of categories, or null.</summary>
    public static CharacterSet? PosixSet(string name) => name switch
    {
        "alpha" => Alphabetic,
        "alnum" => Alphabetic with { Mask = Alphabetic.Mask | Digit },
        "digit" => new CharacterSet(Digit),
        "upper" => Uppercase,
        "lower" => Lowercase,
        "cntrl" => new CharacterSet(Mask("cc")!.Value),
        "punct" => new CharacterSet(Mask("p")!.Value | Mask("s")!.Value),
        "word" => PosixWord,
        _ => null,
    };

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
