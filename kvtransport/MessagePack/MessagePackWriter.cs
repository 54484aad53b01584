using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace ScriptedServe.KvTransport.MessagePack;

/// <summary>
/// Writes MessagePack (github.com/msgpack/msgpack, spec.md) in its shortest form to a buffer that grows.
/// Containers are written as a header that says how many values follow; the caller writes exactly that many.
/// </summary>
public sealed class MessagePackWriter
{
    private readonly ArrayBufferWriter<byte> _buffer = new(256);

    /// <summary>Valid until the next write or <see cref="Clear"/>.</summary>
    public ReadOnlySpan<byte> Written => _buffer.WrittenSpan;

    public void Clear() => _buffer.ResetWrittenCount();

    public void WriteNil() => Byte(0xc0);

    public void Write(bool value) => Byte(value ? (byte)0xc3 : (byte)0xc2);

    public void Write(long value)
    {
        switch (value)
        {
            case >= 0:
                Write((ulong)value);
                break;
            case >= -32:
                Byte((byte)value);
                break;
            case >= sbyte.MinValue:
                Prefixed(0xd0, 1, (ulong)value);
                break;
            case >= short.MinValue:
                Prefixed(0xd1, 2, (ulong)value);
                break;
            case >= int.MinValue:
                Prefixed(0xd2, 4, (ulong)value);
                break;
            default:
                Prefixed(0xd3, 8, (ulong)value);
                break;
        }
    }

    public void Write(ulong value)
    {
        switch (value)
        {
            case <= 0x7f:
                Byte((byte)value);
                break;
            case <= byte.MaxValue:
                Prefixed(0xcc, 1, value);
                break;
            case <= ushort.MaxValue:
                Prefixed(0xcd, 2, value);
                break;
            case <= uint.MaxValue:
                Prefixed(0xce, 4, value);
                break;
            default:
                Prefixed(0xcf, 8, value);
                break;
        }
    }

    public void Write(int value) => Write((long)value);

    public void Write(float value) => Prefixed(0xca, 4, BitConverter.SingleToUInt32Bits(value));

    public void Write(double value) => Prefixed(0xcb, 8, BitConverter.DoubleToUInt64Bits(value));

    public void Write(string value)
    {
        var bytes = Encoding.UTF8.GetByteCount(value);
        if (bytes < 32)
        {
            Byte((byte)(0xa0 | bytes));
        }
        else
        {
            Sized(0xd9, 0xda, 0xdb, bytes);
        }

        Encoding.UTF8.GetBytes(value, _buffer.GetSpan(bytes));
        _buffer.Advance(bytes);
    }

    public void WriteBinary(ReadOnlySpan<byte> value)
    {
        Sized(0xc4, 0xc5, 0xc6, value.Length);
        _buffer.Write(value);
    }

    public void WriteArrayHeader(int count) => Container(0x90, 0xdc, count);

    /// <param name="count">Pairs; twice as many values follow, keys and values in turn.</param>
    public void WriteMapHeader(int count) => Container(0x80, 0xde, count);

    /// <param name="type">Application types are 0..127, the spec's own are negative.</param>
    public void WriteExtension(sbyte type, ReadOnlySpan<byte> value)
    {
        if (value.Length is 1 or 2 or 4 or 8 or 16)
        {
            Byte((byte)(0xd4 + int.Log2(value.Length)));
        }
        else
        {
            Sized(0xc7, 0xc8, 0xc9, value.Length);
        }

        Byte((byte)type);
        _buffer.Write(value);
    }

    private void Container(byte fix, byte wide, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        switch (count)
        {
            case < 16:
                Byte((byte)(fix | count));
                break;
            case <= ushort.MaxValue:
                Prefixed(wide, 2, (ulong)count);
                break;
            default:
                Prefixed((byte)(wide + 1), 4, (ulong)count);
                break;
        }
    }

    private void Sized(byte one, byte two, byte four, int length)
    {
        var (prefix, width) = length <= byte.MaxValue ? (one, 1) : length <= ushort.MaxValue ? (two, 2) : (four, 4);
        Prefixed(prefix, width, (ulong)length);
    }

    private void Prefixed(byte prefix, int width, ulong value)
    {
        Span<byte> big = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(big, value);
        var span = _buffer.GetSpan(1 + width);
        span[0] = prefix;
        big[(8 - width)..].CopyTo(span[1..]);
        _buffer.Advance(1 + width);
    }

    private void Byte(byte value)
    {
        _buffer.GetSpan(1)[0] = value;
        _buffer.Advance(1);
    }
}
