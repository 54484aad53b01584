using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// The one-character names that byte-level vocabularies give the 256 bytes: printable Latin-1 stands for itself, the other 68
/// take U+0100 upwards (GPT-2, encoder.py, bytes_to_unicode).
/// </summary>
internal static class ByteAlphabet
{
    private static readonly char[] Characters = BuildCharacters();
    private static readonly short[] Bytes = BuildBytes(Characters);

    /// <summary>Number of characters <see cref="Write"/> needs: one a byte of UTF-8.</summary>
    public static int Length(ReadOnlySpan<char> text) => Encoding.UTF8.GetByteCount(text);

    /// <summary>Writes the names of the UTF-8 bytes of <paramref name="text"/>.</summary>
    public static void Write(ReadOnlySpan<char> text, Span<char> names)
    {
        var written = 0;
        Span<byte> utf8 = stackalloc byte[4];
        for (var i = 0; i < text.Length; i++)
        {
            var character = text[i];
            if (character < 0x80)
            {
                names[written++] = Characters[character];
                continue;
            }

            Rune.DecodeFromUtf16(text[i..], out var rune, out var consumed);
            foreach (var value in utf8[..rune.EncodeToUtf8(utf8)])
            {
                names[written++] = Characters[value];
            }

            i += consumed - 1;
        }
    }

    /// <summary>The name of a byte in vocabularies that fall back to bytes.</summary>
    public static string FallbackToken(byte value) => string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>");

    public static char CharacterOf(byte value) => Characters[value];

    /// <summary>The byte a character names, or -1.</summary>
    public static int ByteOf(char character) => character < Bytes.Length ? Bytes[character] : -1;

    /// <summary>Appends the bytes a token stands for: those its characters name or, if one names none, the UTF-8 of the token itself.</summary>
    public static void AppendBytes(ReadOnlySpan<char> token, List<byte> bytes)
    {
        var start = bytes.Count;
        foreach (var character in token)
        {
            var value = ByteOf(character);
            if (value < 0)
            {
                bytes.RemoveRange(start, bytes.Count - start);
                AppendUtf8(token, bytes);
                return;
            }

            bytes.Add((byte)value);
        }
    }

    public static void AppendUtf8(ReadOnlySpan<char> text, List<byte> bytes)
    {
        Span<byte> utf8 = stackalloc byte[4];
        foreach (var rune in text.EnumerateRunes())
        {
            bytes.AddRange(utf8[..rune.EncodeToUtf8(utf8)]);
        }
    }

    private static char[] BuildCharacters()
    {
        var characters = new char[256];
        var next = '\u0100';
        for (var value = 0; value < 256; value++)
        {
            var printable = value is (>= 0x21 and <= 0x7E) or (>= 0xA1 and <= 0xAC) or >= 0xAE;
            characters[value] = printable ? (char)value : next++;
        }

        return characters;
    }

    private static short[] BuildBytes(char[] characters)
    {
        var bytes = new short[characters.Max() + 1];
        Array.Fill(bytes, (short)-1);
        for (var value = 0; value < 256; value++)
        {
            bytes[characters[value]] = (short)value;
        }

        return bytes;
    }
}
