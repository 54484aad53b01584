using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Text.Normalization;

/// <summary>
/// The normalization rules compiled into a SentencePiece model: a double-array trie (Yata, darts-clone) from the UTF-8 of what is replaced
/// to offsets in a block of replacements, each ended by a zero byte. Layout: the trie's size in bytes (32 bits, little-endian), the trie, the block.
/// </summary>
internal sealed class PrecompiledCharsmap
{
    /// <summary>Grapheme clusters of this many bytes and more are replaced character by character.</summary>
    private const int LongGrapheme = 6;

    private readonly uint[] units;
    private readonly byte[] replacements;

    /// <exception cref="FormatException">The sizes in it do not add up.</exception>
    public PrecompiledCharsmap(ReadOnlySpan<byte> blob)
    {
        if (blob.Length < sizeof(uint) || BinaryPrimitives.ReadUInt32LittleEndian(blob) is var size && (size % sizeof(uint) != 0 || size == 0 || size > blob.Length - sizeof(uint)))
        {
            throw new FormatException($"a character map of {blob.Length} bytes whose trie does not fit into it");
        }

        units = new uint[size / sizeof(uint)];
        for (var i = 0; i < units.Length; i++)
        {
            units[i] = BinaryPrimitives.ReadUInt32LittleEndian(blob[((i + 1) * sizeof(uint))..]);
        }

        replacements = blob[(sizeof(uint) + (int)size)..].ToArray();
    }

    /// <param name="text">Well-formed UTF-16.</param>
    public string Apply(string text)
    {
        var result = new StringBuilder(text.Length);
        Span<byte> utf8 = stackalloc byte[LongGrapheme];
        for (var start = 0; start < text.Length;)
        {
            var grapheme = text.AsSpan(start, StringInfo.GetNextTextElementLength(text.AsSpan(start)));
            start += grapheme.Length;
            if (Encoding.UTF8.TryGetBytes(grapheme, utf8, out var bytes) && bytes < LongGrapheme && TryReplace(utf8[..bytes], result))
            {
                continue;
            }

            foreach (var rune in grapheme.EnumerateRunes())
            {
                if (!TryReplace(utf8[..rune.EncodeToUtf8(utf8)], result))
                {
                    result.Append(rune);
                }
            }
        }

        return result.ToString();
    }

    /// <summary>Looks up the shortest beginning that has a rule; as in SentencePiece's users, what follows it is dropped.</summary>
    private bool TryReplace(ReadOnlySpan<byte> utf8, StringBuilder result)
    {
        var position = Offset(units[0]);
        foreach (var value in utf8)
        {
            position ^= value;
            if (value == 0 || position >= units.Length || (units[position] & 0x800000FFu) != value)
            {
                return false;
            }

            var unit = units[position];
            position ^= Offset(unit);
            if ((unit >> 8 & 1) != 0)
            {
                return position < units.Length && TryAppend((int)(units[position] & 0x7FFFFFFFu), result);
            }
        }

        return false;
    }

    private bool TryAppend(int offset, StringBuilder result)
    {
        if (offset >= replacements.Length)
        {
            return false;
        }

        var rest = replacements.AsSpan(offset);
        var end = rest.IndexOf((byte)0);
        result.Append(Encoding.UTF8.GetString(end < 0 ? rest : rest[..end]));
        return true;
    }

    /// <summary>Where a unit's children are, to be xored with its own place.</summary>
    private static uint Offset(uint unit) => unit >> 10 << (int)((unit & (1u << 9)) >> 6);
}
