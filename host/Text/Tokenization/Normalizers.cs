using System.Globalization;
using System.Text;
using ScriptedServe.Host.Text.Normalization;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A step that rewrites text before it is split. Immutable.</summary>
internal abstract class Normalizer
{
    private const string Supported = "Sequence, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Lowercase, Replace, Prepend, Strip, StripAccents, ByteLevel";

    public abstract string Apply(string text);

    public static Normalizer Read(JsonSpot spot) => spot["type"].Text() switch
    {
        "Sequence" => new Chain([.. spot["normalizers"].Items().Select(Read)]),
        "NFC" => new UnicodeForm(NormalizationForm.FormC),
        "NFD" => new UnicodeForm(NormalizationForm.FormD),
        "NFKC" => new UnicodeForm(NormalizationForm.FormKC),
        "NFKD" => new UnicodeForm(NormalizationForm.FormKD),
        "Nmt" => new Nmt(),
        "Precompiled" => ReadPrecompiled(spot["precompiled_charsmap"]),
        "Lowercase" => new Lowercase(),
        "Replace" => new Replace(TextPattern.Read(spot["pattern"]), spot["content"].Text()),
        "Prepend" => new Prepend(spot["prepend"].Text()),
        "Strip" => new Strip(spot.Flag("strip_left", true), spot.Flag("strip_right", true)),
        "StripAccents" => new StripAccents(),
        "ByteLevel" => new ByteNames(),
        var other => throw spot.Unsupported($"normalizer {other}", Supported),
    };

    private static Precompiled ReadPrecompiled(JsonSpot spot)
    {
        try
        {
            return new Precompiled(new PrecompiledCharsmap(Convert.FromBase64String(spot.Text())));
        }
        catch (FormatException error)
        {
            throw spot.Error("a character map in base64", error.Message);
        }
    }

    private sealed class Chain(Normalizer[] steps) : Normalizer
    {
        public override string Apply(string text) => steps.Aggregate(text, (current, step) => step.Apply(current));
    }

    private sealed class UnicodeForm(NormalizationForm form) : Normalizer
    {
        public override string Apply(string text) => UnicodeNormalizer.Normalize(text, form);
    }

    private sealed class Precompiled(PrecompiledCharsmap map) : Normalizer
    {
        public override string Apply(string text) => map.Apply(text);
    }

    /// <summary>Control characters go, what else is blank becomes a space (SentencePiece's rules for machine translation).</summary>
    private sealed class Nmt : Normalizer
    {
        public override string Apply(string text)
        {
            var kept = new StringBuilder(text.Length);
            foreach (var character in text)
            {
                if (character is not (>= '\u0001' and <= '\u0008' or '\u000B' or >= '\u000E' and <= '\u001F' or '\u007F' or '\u008F' or '\u009F'))
                {
                    kept.Append(character is '\t' or '\n' or '\f' or '\r' or '\u1680' or >= '\u200B' and <= '\u200F' or '\u2028' or '\u2029' or '\u2581' or '\uFEFF' or '\uFFFD' ? ' ' : character);
                }
            }

            return kept.ToString();
        }
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
                if (Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark)
                    || UnicodeTable.Instance.IsNewMark(rune.Value))
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
