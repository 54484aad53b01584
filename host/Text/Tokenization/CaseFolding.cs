using System.Collections.Frozen;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Which characters are one letter but for their case: simple case folding within the BMP, as (?i) needs it.</summary>
internal static class CaseFolding
{
    private static readonly FrozenDictionary<char, string> Variants = Build();

    /// <summary>The character and all that equal it, or an empty string for a character without case.</summary>
    public static string Equivalents(char character) => Variants.GetValueOrDefault(character, "");

    private static FrozenDictionary<char, string> Build()
    {
        var folds = Enumerable.Range(0, 0x10000).Select(code => (char)code).ToLookup(Fold);
        return folds.Where(same => same.Count() > 1).SelectMany(same => same.Select(character => (character, Same: string.Concat(same))))
            .ToFrozenDictionary(item => item.character, item => item.Same);
    }

    /// <summary>The runtime's invariant casing leaves out the long s; the dotted and the dotless i fold to no other letter.</summary>
    private static char Fold(char character) => character switch
    {
        '\u017F' => 's',
        '\u0130' or '\u0131' => character,
        _ => char.ToLowerInvariant(char.ToUpperInvariant(character)),
    };
}
