namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>The Huffman code of header strings: canonical, so that its lengths say all (RFC 7541, appendix B).</summary>
internal static class HuffmanDecoder
{
    private const int EndOfString = 256;
    private const int LongestCode = 30;
    private const int LongestPadding = 7;

    /// <summary>Bits of each byte's code, and of the end's.</summary>
    private static ReadOnlySpan<byte> CodeLengths =>
    [
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
        6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
        13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
        22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
        20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
        30,
    ];

    private static readonly Table s_table = new(CodeLengths);

    /// <summary>Decodes all of <paramref name="coded"/>, appending to <paramref name="text"/>.</summary>
    /// <returns>False if it is no such code.</returns>
    public static bool TryDecode(ReadOnlySpan<byte> coded, List<byte> text)
    {
        var code = 0u;
        var bits = 0;
        foreach (var piece in coded)
        {
            for (var bit = 7; bit >= 0; bit--)
            {
                code = (code << 1) | (uint)((piece >> bit) & 1);
                if (++bits > LongestCode)
                {
                    return false;
                }

                if (s_table.Find(code, bits) is { } symbol)
                {
                    if (symbol == EndOfString)
                    {
                        return false;
                    }

                    text.Add((byte)symbol);
                    (code, bits) = (0, 0);
                }
            }
        }

        // What is left of the last byte is ones, less than a byte of them.
        return bits <= LongestPadding && code == (1u << bits) - 1;
    }

    private sealed class Table
    {
        private readonly uint[] _firstCode = new uint[LongestCode + 1];
        private readonly int[] _firstSymbol = new int[LongestCode + 1];
        private readonly int[] _count = new int[LongestCode + 1];
        private readonly int[] _symbols;

        public Table(ReadOnlySpan<byte> lengths)
        {
            var bits = lengths.ToArray();
            _symbols = [.. Enumerable.Range(0, bits.Length).OrderBy(symbol => bits[symbol]).ThenBy(symbol => symbol)];
            var code = 0u;
            var index = 0;
            for (var length = 1; length <= LongestCode; length++)
            {
                _firstCode[length] = code;
                _firstSymbol[length] = index;
                _count[length] = bits.Count(each => each == length);
                index += _count[length];
                code = (code + (uint)_count[length]) << 1;
            }
        }

        public int? Find(uint code, int bits)
        {
            var offset = code - _firstCode[bits];
            return code >= _firstCode[bits] && offset < _count[bits] ? _symbols[_firstSymbol[bits] + (int)offset] : null;
        }
    }
}
