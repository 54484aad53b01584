using System.Buffers.Binary;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>Frames on their way to a socket: written under the connection's lock, taken away by whoever sends. Not thread-safe.</summary>
internal sealed class FrameWriter
{
    private const int FirstBytes = 4096;
    private const int MostIdleBytes = 256 << 10;

    private byte[] _writing = new byte[FirstBytes];
    private byte[] _sending = new byte[FirstBytes];

    /// <summary>Bytes not taken yet.</summary>
    public int Length { get; private set; }

    /// <summary>What has been written since; valid until the next call.</summary>
    public ReadOnlyMemory<byte> Take()
    {
        // One large request does not keep its memory for good.
        var next = _sending.Length <= MostIdleBytes ? _sending : new byte[FirstBytes];
        (_writing, _sending) = (next, _writing);
        var taken = _sending.AsMemory(0, Length);
        Length = 0;
        return taken;
    }

    public void Raw(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Reserve(bytes.Length));

    /// <summary>Header blocks, in frames of at most <paramref name="maxFrameBytes"/>; <paramref name="more"/> continues <paramref name="block"/>.</summary>
    public void Headers(int stream, ReadOnlySpan<byte> block, ReadOnlySpan<byte> more, int maxFrameBytes)
    {
        var whole = Reserve(0, FrameHeader.Bytes + block.Length + more.Length);
        if (block.Length + more.Length <= maxFrameBytes)
        {
            new FrameHeader(block.Length + more.Length, FrameType.Headers, FrameFlags.EndHeaders, stream).Write(whole);
            block.CopyTo(whole[FrameHeader.Bytes..]);
            more.CopyTo(whole[(FrameHeader.Bytes + block.Length)..]);
            Length += FrameHeader.Bytes + block.Length + more.Length;
            return;
        }

        byte[] all = [.. block, .. more];
        for (var at = 0; at < all.Length; at += maxFrameBytes)
        {
            var piece = all.AsSpan(at, Math.Min(maxFrameBytes, all.Length - at));
            Frame(at == 0 ? FrameType.Headers : FrameType.Continuation, at + piece.Length == all.Length ? FrameFlags.EndHeaders : FrameFlags.None, stream, piece);
        }
    }

    public void Data(int stream, ReadOnlySpan<byte> data, bool isLast) => Frame(FrameType.Data, isLast ? FrameFlags.EndStreamOrAck : FrameFlags.None, stream, data);

    public void ResetStream(int stream, Http2Error error) => Number(FrameType.ResetStream, stream, (uint)error);

    public void WindowUpdate(int stream, int bytes) => Number(FrameType.WindowUpdate, stream, (uint)bytes);

    public void Ping(ReadOnlySpan<byte> payload, bool isAnswer) => Frame(FrameType.Ping, isAnswer ? FrameFlags.EndStreamOrAck : FrameFlags.None, 0, payload);

    public void Settings(params ReadOnlySpan<(SettingId Id, uint Value)> settings)
    {
        Span<byte> payload = stackalloc byte[6 * settings.Length];
        for (var i = 0; i < settings.Length; i++)
        {
            BinaryPrimitives.WriteUInt16BigEndian(payload[(6 * i)..], (ushort)settings[i].Id);
            BinaryPrimitives.WriteUInt32BigEndian(payload[((6 * i) + 2)..], settings[i].Value);
        }

        Frame(FrameType.Settings, FrameFlags.None, 0, payload);
    }

    public void SettingsAnswer() => Frame(FrameType.Settings, FrameFlags.EndStreamOrAck, 0, []);

    public void GoAway(Http2Error error)
    {
        Span<byte> payload = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32BigEndian(payload, 0);
        BinaryPrimitives.WriteUInt32BigEndian(payload[4..], (uint)error);
        Frame(FrameType.GoAway, FrameFlags.None, 0, payload);
    }

    private void Number(FrameType type, int stream, uint value)
    {
        Span<byte> payload = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(payload, value);
        Frame(type, FrameFlags.None, stream, payload);
    }

    private void Frame(FrameType type, FrameFlags flags, int stream, ReadOnlySpan<byte> payload)
    {
        var bytes = Reserve(FrameHeader.Bytes + payload.Length);
        new FrameHeader(payload.Length, type, flags, stream).Write(bytes);
        payload.CopyTo(bytes[FrameHeader.Bytes..]);
    }

    private Span<byte> Reserve(int bytes) => Reserve(bytes, bytes);

    private Span<byte> Reserve(int used, int bytes)
    {
        if (_writing.Length - Length < bytes)
        {
            Array.Resize(ref _writing, Math.Max(2 * _writing.Length, Length + bytes));
        }

        var span = _writing.AsSpan(Length, bytes);
        Length += used;
        return span;
    }
}
