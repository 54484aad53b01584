using System.Buffers.Binary;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>RFC 9113, section 6.</summary>
internal enum FrameType : byte
{
    Data = 0,
    Headers = 1,
    Priority = 2,
    ResetStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

/// <summary>Bits of a frame's flags.</summary>
[Flags]
internal enum FrameFlags : byte
{
    None = 0,

    /// <summary>END_STREAM of data and headers, ACK of settings and pings.</summary>
    EndStreamOrAck = 1,
    EndHeaders = 4,
    Padded = 8,
    Priority = 32,
}

/// <summary>RFC 9113, section 7.</summary>
internal enum Http2Error : uint
{
    None = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
    InadequateSecurity = 12,
}

/// <summary>RFC 9113, section 6.5.2: those that a client heeds or sends.</summary>
internal enum SettingId : ushort
{
    EnablePush = 2,
    MaxConcurrentStreams = 3,
    InitialWindowSize = 4,
    MaxFrameSize = 5,
    MaxHeaderListSize = 6,
}

/// <summary>The nine bytes before each frame's payload.</summary>
/// <param name="Length">Bytes of payload.</param>
internal readonly record struct FrameHeader(int Length, FrameType Type, FrameFlags Flags, int StreamId)
{
    public const int Bytes = 9;

    public bool IsLast => Has(FrameFlags.EndStreamOrAck);

    public bool IsAnswer => Has(FrameFlags.EndStreamOrAck);

    public bool Has(FrameFlags flag) => (Flags & flag) != 0;

    /// <returns>False if fewer than nine bytes are there.</returns>
    public static bool TryRead(ReadOnlySpan<byte> bytes, out FrameHeader header)
    {
        if (bytes.Length < Bytes)
        {
            header = default;
            return false;
        }

        header = new(
            (bytes[0] << 16) | (bytes[1] << 8) | bytes[2],
            (FrameType)bytes[3],
            (FrameFlags)bytes[4],
            (int)(BinaryPrimitives.ReadUInt32BigEndian(bytes[5..]) & int.MaxValue));
        return true;
    }

    public void Write(Span<byte> bytes)
    {
        bytes[0] = (byte)(Length >> 16);
        bytes[1] = (byte)(Length >> 8);
        bytes[2] = (byte)Length;
        bytes[3] = (byte)Type;
        bytes[4] = (byte)Flags;
        BinaryPrimitives.WriteInt32BigEndian(bytes[5..], StreamId);
    }
}

/// <summary>The peer broke the protocol: its connection is at an end.</summary>
internal sealed class Http2Exception(Http2Error error, string message) : Exception(message)
{
    public Http2Error Error { get; } = error;
}
