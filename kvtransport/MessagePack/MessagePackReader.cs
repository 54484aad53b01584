using System.Buffers.Binary;
using System.Text;

namespace ScriptedServe.KvTransport.MessagePack;

public enum MessagePackKind
{
    Nil,
    Boolean,
    Integer,
    Float,
    String,
    Binary,
    Array,
    Map,
    Extension,
}

/// <summary>
/// Reads MessagePack (github.com/msgpack/msgpack, spec.md) out of bytes that nobody vouches for. Any width of a value is accepted;
/// a length is checked against the bytes that are left before it is used, so no size in the input makes this allocate more than the input holds.
/// Every fault is a <see cref="MessagePackException"/>.
/// </summary>
public ref struct MessagePackReader(ReadOnlySpan<byte> bytes)
{
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _at;

    /// <summary>Bytes read so far.</summary>
    public readonly int Consumed => _at;

    public readonly bool AtEnd => _at == _bytes.Length;

    /// <summary>What the next value is; nothing is consumed.</summary>
    public readonly MessagePackKind Peek() => Code switch
    {
        <= 0x7f or >= 0xe0 or (>= 0xcc and <= 0xd3) => MessagePackKind.Integer,
        <= 0x8f or 0xde or 0xdf => MessagePackKind.Map,
        <= 0x9f or 0xdc or 0xdd => MessagePackKind.Array,
        <= 0xbf or (>= 0xd9 and <= 0xdb) => MessagePackKind.String,
        0xc0 => MessagePackKind.Nil,
        0xc2 or 0xc3 => MessagePackKind.Boolean,
        >= 0xc4 and <= 0xc6 => MessagePackKind.Binary,
        0xca or 0xcb => MessagePackKind.Float,
        >= 0xc7 and <= 0xc9 or >= 0xd4 and <= 0xd8 => MessagePackKind.Extension,
        _ => throw Fault("0xc1 is never used in MessagePack"),
    };

    public void ReadNil()
    {
        Expect(MessagePackKind.Nil);
        _at++;
    }

    public bool ReadBoolean()
    {
        Expect(MessagePackKind.Boolean);
        return _bytes[_at++] == 0xc3;
    }

    /// <summary>True if the next value is an integer below zero; such a one does not fit <see cref="ReadUInt64"/>.</summary>
    public readonly bool IsNegative => Code >= 0xe0 || (Code is >= 0xd0 and <= 0xd3 && _at + 1 < _bytes.Length && _bytes[_at + 1] >= 0x80);

    public ulong ReadUInt64()
    {
        Expect(MessagePackKind.Integer);
        return IsNegative ? throw Fault("a negative number where none is allowed") : Integer();
    }

    public long ReadInt64()
    {
        Expect(MessagePackKind.Integer);
        var negative = IsNegative;
        var value = Integer();
        return negative || value <= long.MaxValue ? (long)value : throw Fault($"{value} does not fit 64 signed bits");
    }

    public int ReadInt32()
    {
        var value = ReadInt64();
        return value is >= int.MinValue and <= int.MaxValue ? (int)value : throw Fault($"{value} does not fit 32 signed bits");
    }

    public double ReadDouble()
    {
        Expect(MessagePackKind.Float);
        return _bytes[_at++] == 0xca ? BitConverter.UInt32BitsToSingle((uint)BigEndian(4)) : BitConverter.UInt64BitsToDouble(BigEndian(8));
    }

    public string ReadString()
    {
        Expect(MessagePackKind.String);
        var code = _bytes[_at++];
        var bytes = Take(code <= 0xbf ? code & 0x1fu : BigEndian(1 << (code - 0xd9)));
        try
        {
            return Utf8.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            throw Fault("a string that is not UTF-8");
        }
    }

    /// <summary>A view into the input.</summary>
    public ReadOnlySpan<byte> ReadBinary()
    {
        Expect(MessagePackKind.Binary);
        return Take(BigEndian(1 << (_bytes[_at++] - 0xc4)));
    }

    /// <returns>How many values follow; at most as many as bytes are left.</returns>
    public int ReadArrayHeader()
    {
        Expect(MessagePackKind.Array);
        return Container(0x90, 0xdc, bytesAnItem: 1);
    }

    /// <returns>How many pairs follow.</returns>
    public int ReadMapHeader()
    {
        Expect(MessagePackKind.Map);
        return Container(0x80, 0xde, bytesAnItem: 2);
    }

    public ReadOnlySpan<byte> ReadExtension(out sbyte type)
    {
        Expect(MessagePackKind.Extension);
        var code = _bytes[_at++];
        var length = code >= 0xd4 ? 1UL << (code - 0xd4) : BigEndian(1 << (code - 0xc7));
        type = (sbyte)Take(1)[0];
        return Take(length);
    }

    /// <summary>Steps over one whole value, however deep; uses no stack for it.</summary>
    public void Skip()
    {
        for (var left = 1L; left > 0; left--)
        {
            switch (Peek())
            {
                case MessagePackKind.Nil or MessagePackKind.Boolean:
                    _at++;
                    break;
                case MessagePackKind.Integer:
                    Integer();
                    break;
                case MessagePackKind.Float:
                    ReadDouble();
                    break;
                case MessagePackKind.String:
                    var code = _bytes[_at++];
                    Take(code <= 0xbf ? code & 0x1fu : BigEndian(1 << (code - 0xd9)));
                    break;
                case MessagePackKind.Binary:
                    ReadBinary();
                    break;
                case MessagePackKind.Extension:
                    ReadExtension(out _);
                    break;
                case MessagePackKind.Array:
                    left += ReadArrayHeader();
                    break;
                default:
                    left += 2L * ReadMapHeader();
                    break;
            }
        }
    }

    private readonly byte Code => _at < _bytes.Length ? _bytes[_at] : throw Fault("the input ends where a value should begin");

    private readonly void Expect(MessagePackKind kind)
    {
        var found = Peek();
        if (found != kind)
        {
            throw Fault($"expected {kind}, found {found}");
        }
    }

    /// <summary>The bits of an integer, sign-extended to 64.</summary>
    private ulong Integer()
    {
        var code = _bytes[_at++];
        if (code is <= 0x7f or >= 0xe0)
        {
            return (ulong)(sbyte)code;
        }

        var width = 1 << ((code - 0xcc) & 3);
        var value = BigEndian(width);
        var unused = 64 - (8 * width);
        return code >= 0xd0 ? (ulong)((long)(value << unused) >> unused) : value;
    }

    private int Container(byte fix, byte wide, int bytesAnItem)
    {
        var code = _bytes[_at++];
        var count = code < wide ? (ulong)(code - fix) : BigEndian(code == wide ? 2 : 4);
        var left = _bytes.Length - _at;
        return count <= (ulong)(left / bytesAnItem) ? (int)count : throw Fault($"a container of {count} items in {left} bytes");
    }

    private ulong BigEndian(int width)
    {
        Span<byte> big = stackalloc byte[8];
        big.Clear();
        Take((ulong)width).CopyTo(big[(8 - width)..]);
        return BinaryPrimitives.ReadUInt64BigEndian(big);
    }

    private ReadOnlySpan<byte> Take(ulong length)
    {
        var left = _bytes.Length - _at;
        if (length > (ulong)left)
        {
            throw Fault($"a value of {length} bytes where {left} are left");
        }

        var span = _bytes.Slice(_at, (int)length);
        _at += (int)length;
        return span;
    }

    private readonly MessagePackException Fault(string what) => new($"Not valid MessagePack at byte {_at}: {what}.");
}
