using System.Text;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>Takes headers as they are decoded.</summary>
internal interface IHeaderSink
{
    void Add(string name, string value);
}

/// <summary>
/// Decodes the header blocks that one connection receives, in the order they come (RFC 7541): each may refer to headers of those before. Not thread-safe.
/// </summary>
internal sealed class HeaderDecoder
{
    /// <summary>What the protocol grants a peer that was told nothing else.</summary>
    private const int MaxTableBytes = 4096;

    private const int EntryOverheadBytes = 32;

    /// <summary>Of a whole block, decoded: a small block can name a large header over and over.</summary>
    public const int MaxBlockBytes = 64 << 10;

    private static readonly (string Name, string Value)[] s_static =
    [
        (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"),
        (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"),
        ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
        ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
        ("content-encoding", ""), ("content-language", ""), ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
        ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
        ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
        ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""),
        ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
    ];

    // Newest last.
    private readonly List<(string Name, string Value)> _dynamic = [];
    private readonly List<byte> _text = [];
    private int _tableBytes;
    private int _tableLimit = MaxTableBytes;

    /// <summary>Decodes a whole block into <paramref name="headers"/>.</summary>
    /// <exception cref="Http2Exception">It is not such a block, or a larger one than anybody needs.</exception>
    public void Decode(ReadOnlySpan<byte> block, IHeaderSink headers)
    {
        var total = 0;
        while (!block.IsEmpty)
        {
            var first = block[0];
            if ((first & 0xe0) == 0x20)
            {
                var limit = ReadInteger(ref block, 5);
                _tableLimit = limit <= MaxTableBytes ? limit : throw Malformed($"a table of {limit} bytes is asked for, {MaxTableBytes} are granted");
                Evict(0);
                continue;
            }

            (string Name, string Value) header;
            if ((first & 0x80) != 0)
            {
                header = Entry(ReadInteger(ref block, 7));
            }
            else
            {
                // With indexing a name index of six bits, without and never four.
                var isKept = (first & 0x40) != 0;
                var index = ReadInteger(ref block, isKept ? 6 : 4);
                var name = index == 0 ? ReadString(ref block) : Entry(index).Name;
                header = (name, ReadString(ref block));
                if (isKept)
                {
                    Keep(header);
                }
            }

            total += Size(header);
            if (total > MaxBlockBytes)
            {
                throw new Http2Exception(Http2Error.EnhanceYourCalm, $"its headers are more than {MaxBlockBytes} bytes (fixed: no setting changes it)");
            }

            headers.Add(header.Name, header.Value);
        }
    }

    private (string Name, string Value) Entry(int index)
    {
        if (index > 0 && index <= s_static.Length)
        {
            return s_static[index - 1];
        }

        var age = index - s_static.Length;
        return age >= 1 && age <= _dynamic.Count ? _dynamic[^age] : throw Malformed($"there is no header {index}");
    }

    private void Keep((string Name, string Value) header)
    {
        // One larger than the table empties it, and is not kept.
        var size = Size(header);
        Evict(Math.Min(size, _tableLimit));
        if (size <= _tableLimit)
        {
            _dynamic.Add(header);
            _tableBytes += size;
        }
    }

    private void Evict(int room)
    {
        var gone = 0;
        while (_tableBytes + room > _tableLimit && gone < _dynamic.Count)
        {
            _tableBytes -= Size(_dynamic[gone++]);
        }

        _dynamic.RemoveRange(0, gone);
    }

    private static int Size((string Name, string Value) header) => header.Name.Length + header.Value.Length + EntryOverheadBytes;

    private string ReadString(ref ReadOnlySpan<byte> block)
    {
        if (block.IsEmpty)
        {
            throw Malformed("it ends in the middle of a header");
        }

        var isCoded = (block[0] & 0x80) != 0;
        var length = ReadInteger(ref block, 7);
        if (length > block.Length)
        {
            throw Malformed("it ends in the middle of a header");
        }

        var bytes = block[..length];
        block = block[length..];
        if (!isCoded)
        {
            return Encoding.Latin1.GetString(bytes);
        }

        _text.Clear();
        return HuffmanDecoder.TryDecode(bytes, _text)
            ? Encoding.Latin1.GetString(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_text))
            : throw Malformed("a string is not in the Huffman code");
    }

    /// <summary>An integer with a prefix of so many bits in its first byte.</summary>
    private static int ReadInteger(ref ReadOnlySpan<byte> block, int prefixBits)
    {
        var most = (1 << prefixBits) - 1;
        var value = (long)(block[0] & most);
        block = block[1..];
        if (value < most)
        {
            return (int)value;
        }

        for (var shift = 0; ; shift += 7)
        {
            if (block.IsEmpty || shift > 28)
            {
                throw Malformed("a number has no end");
            }

            var next = block[0];
            block = block[1..];
            value += (long)(next & 0x7f) << shift;
            if (next < 0x80)
            {
                return value <= int.MaxValue ? (int)value : throw Malformed("a number is too large");
            }
        }
    }

    private static Http2Exception Malformed(string why) => new(Http2Error.Compression, $"its headers cannot be decoded: {why}");
}

