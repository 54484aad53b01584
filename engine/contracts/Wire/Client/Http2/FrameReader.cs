using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>What a connection is told of the frames that come.</summary>
internal interface IFrameHandler
{
    /// <param name="frame">Its length counts against the windows.</param>
    /// <param name="data">Without padding.</param>
    void Data(FrameHeader frame, ReadOnlySpan<byte> data);

    void Headers(int id, ResponseHeaders headers, bool isLast);

    void ResetStream(int id, Http2Error error);

    void Settings(ReadOnlySpan<byte> payload);

    void Ping(ReadOnlySpan<byte> payload);

    /// <param name="last">Streams after this one have not been begun with.</param>
    void GoAway(int last, Http2Error error, ReadOnlySpan<byte> words);

    /// <param name="id">0 for the connection.</param>
    void WindowUpdate(int id, int bytes);
}

/// <summary>Takes the frames that a server sends apart, and puts its header blocks together. Not thread-safe.</summary>
internal sealed class FrameReader(IFrameHandler handler)
{
    /// <summary>Of a frame's payload: the protocol's least, and plenty.</summary>
    public const int MaxFrameBytes = 16384;

    /// <summary>Of a block as it comes, in parts.</summary>
    private const int MaxBlockBytes = 4 * MaxFrameBytes;

    private readonly HeaderDecoder _decoder = new();
    private readonly List<byte> _block = [];
    private FrameHeader? _unfinished;
    private bool _isHttp2;

    /// <returns>Bytes of whole frames, which are done with.</returns>
    /// <exception cref="Http2Exception">The peer broke the protocol.</exception>
    /// <exception cref="IOException">It speaks another one.</exception>
    public int Take(ReadOnlySpan<byte> bytes)
    {
        var start = 0;
        while (FrameHeader.TryRead(bytes[start..], out var frame))
        {
            // Its settings come first, whatever it has to say.
            _isHttp2 = _isHttp2 || frame is { Type: FrameType.Settings, IsAnswer: false, StreamId: 0, Length: <= MaxFrameBytes }
                ? true
                : throw new IOException("it does not speak HTTP/2 without TLS");
            if (frame.Length > MaxFrameBytes)
            {
                throw new Http2Exception(Http2Error.FrameSize, $"it sent a frame of {frame.Length} bytes; the limit is {MaxFrameBytes}");
            }

            if (bytes.Length - start < FrameHeader.Bytes + frame.Length)
            {
                break;
            }

            Take(frame, bytes.Slice(start + FrameHeader.Bytes, frame.Length));
            start += FrameHeader.Bytes + frame.Length;
        }

        return start;
    }

    public static Http2Exception Broken(string what) => new(Http2Error.Protocol, $"it broke the HTTP/2 protocol: {what}");

    private void Take(FrameHeader frame, ReadOnlySpan<byte> payload)
    {
        if (_unfinished is { } unfinished && (frame.Type != FrameType.Continuation || frame.StreamId != unfinished.StreamId))
        {
            throw Broken("something between the parts of its headers");
        }

        switch (frame.Type)
        {
            case FrameType.Data:
                handler.Data(frame, WithoutPadding(frame, payload));
                break;
            case FrameType.Headers:
                payload = WithoutPadding(frame, payload);
                TakeHeaders(frame, frame.Has(FrameFlags.Priority) ? Part(payload, 5, payload.Length - 5) : payload);
                break;
            case FrameType.Continuation:
                TakeContinuation(frame, payload);
                break;
            case FrameType.ResetStream:
                handler.ResetStream(frame.StreamId, (Http2Error)Number(payload, 0));
                break;
            case FrameType.Settings when !frame.IsAnswer:
                handler.Settings(payload);
                break;
            case FrameType.PushPromise:
                throw Broken("a push, which it was told not to");
            case FrameType.Ping when !frame.IsAnswer:
                handler.Ping(Part(payload, 0, 8));
                break;
            case FrameType.GoAway:
                handler.GoAway((int)(Number(payload, 0) & int.MaxValue), (Http2Error)Number(payload, 4), payload[8..]);
                break;
            case FrameType.WindowUpdate:
                handler.WindowUpdate(frame.StreamId, (int)(Number(payload, 0) & int.MaxValue));
                break;
        }
    }

    private void TakeHeaders(FrameHeader frame, ReadOnlySpan<byte> block)
    {
        if (frame.Has(FrameFlags.EndHeaders))
        {
            TakeBlock(frame, block);
            return;
        }

        _unfinished = frame;
        _block.Clear();
        _block.AddRange(block);
    }

    private void TakeContinuation(FrameHeader frame, ReadOnlySpan<byte> block)
    {
        var first = _unfinished ?? throw Broken("a continuation of nothing");
        _block.AddRange(block);
        if (_block.Count > MaxBlockBytes)
        {
            throw new Http2Exception(Http2Error.EnhanceYourCalm, $"its headers are more than {MaxBlockBytes} bytes (fixed: no setting changes it)");
        }

        if (frame.Has(FrameFlags.EndHeaders))
        {
            _unfinished = null;
            TakeBlock(first, CollectionsMarshal.AsSpan(_block));
        }
    }

    /// <summary>Also of a stream that was given up: blocks that follow may refer to it.</summary>
    private void TakeBlock(FrameHeader frame, ReadOnlySpan<byte> block)
    {
        var headers = new ResponseHeaders();
        _decoder.Decode(block, headers);
        handler.Headers(frame.StreamId, headers, frame.IsLast);
    }

    private static ReadOnlySpan<byte> WithoutPadding(FrameHeader frame, ReadOnlySpan<byte> payload) =>
        frame.Has(FrameFlags.Padded) ? Part(payload, 1, payload.Length - 1 - Part(payload, 0, 1)[0]) : payload;

    private static uint Number(ReadOnlySpan<byte> payload, int start) => BinaryPrimitives.ReadUInt32BigEndian(Part(payload, start, 4));

    private static ReadOnlySpan<byte> Part(ReadOnlySpan<byte> payload, int start, int bytes) =>
        bytes >= 0 && start + bytes <= payload.Length ? payload.Slice(start, bytes) : throw new Http2Exception(Http2Error.FrameSize, "it sent a frame too short for its kind");
}
