using System.Globalization;
using System.Text;
using ScriptedServe.Host.Text.Normalization;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A step that rewrites text before it is split. Immutable.</summary>
internal abstract class Normalizer
{
    private const string Supported = "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Replace, Prepend, Strip, StripAccents, ByteLevel";

    public abstract string Apply(string text);

    public static Normalizer Read(JsonSpot spot) => spot["type"].Text() switch
    {
        "Sequence" => new Chain([.. spot["normalizers"].Items().Select(Read)]),
        "NFC" => new UnicodeForm(NormalizationForm.FormC),
        "NFD" => new UnicodeForm(NormalizationForm.FormD),
        "NFKC" => new UnicodeForm(NormalizationForm.FormKC),
        "NFKD" => new UnicodeForm(NormalizationForm.FormKD),
        "Lowercase" => new Lowercase(),
        "Replace" => new Replace(TextPattern.Read(spot["pattern"]), spot["content"].Text()),
        "Prepend" => new Prepend(spot["prepend"].Text()),
        "Strip" => new Strip(spot.Flag("strip_left", true), spot.Flag("strip_right", true)),
        "StripAccents" => new StripAccents(),
        "ByteLevel" => new ByteNames(),
        var other => throw spot.Unsupported($"normalizer {other}", Supported),
    };

    private sealed class Chain(Normalizer[] steps) : Normalizer
    {
        public override string Apply(string text) => steps.Aggregate(text, (current, step) => step.Apply(current));
    }

    private sealed class UnicodeForm(NormalizationForm form) : Normalizer
    {
        public override string Apply(string text) => UnicodeNormalizer.Normalize(text, form);
    }

    /// <summary>One character at a time: the only one whose lower case is longer is U+0130, and no sigma is final.</summary>
    private sealed class Lowercase : Normalizer
    {
        public override string Apply(string text) => text.ToLowerInvariant().Replace("\u0130", "i\u0307", StringComparison.Ordinal);
    }

    private sealed class Replace(TextPattern pattern, string content) : Normalizer
    {
        public override string Apply(string text) => pattern.Replace(text, content);
    }

    private sealed class Prepend(string prefix) : Normalizer
    {
        public override string Apply(string text) => text.Length == 0 ? text : prefix + text;
    }

    private sealed class Strip(bool left, bool right) : Normalizer
    {
        public override string Apply(string text)
        {
            var trimmed = left ? text.TrimStart() : text;
            return right ? trimmed.TrimEnd() : trimmed;
        }
    }

    private sealed class StripAccents : Normalizer
    {
        public override string Apply(string text)
        {
            var kept = new StringBuilder(text.Length);
            foreach (var rune in text.EnumerateRunes())
            {
                if (Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark))
                {
                    kept.Append(rune);
                }
            }

            return kept.ToString();
        }
    }

    private sealed class ByteNames : Normalizer
    {
        public override string Apply(string text) =>
            string.Create(ByteAlphabet.Length(text), text, (names, source) => ByteAlphabet.Write(source, names));
    }
}
