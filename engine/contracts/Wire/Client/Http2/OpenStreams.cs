using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>
/// The open streams of a connection, what the peer said it takes, and the windows of flow control in both directions. Not thread-safe: used under the connection's lock.
/// </summary>
/// <param name="output">Where frames are written that follow.</param>
internal sealed class OpenStreams(FrameWriter output)
{
    /// <summary>What a peer may send on a stream whose reader pauses: the protocol's default.</summary>
    public const int StreamWindow = 65535;

    /// <summary>Of all streams together: those windows are what bounds memory, so this one is to bind nobody.</summary>
    public const int ConnectionWindow = 1 << 30;

    private readonly Dictionary<int, Http2Stream> _streams = [];
    private readonly List<Http2Stream> _blocked = [];
    private int _nextId = 1;
    private long _maxStreams = int.MaxValue;
    private long _initialWindow = StreamWindow;
    private long _sendWindow = StreamWindow;
    private int _peerFrameBytes = FrameReader.MaxFrameBytes;
    private int _receivedBytes;
    private bool _isGoingAway;

    public int Count => _streams.Count;

    /// <summary>No stream can be opened any more.</summary>
    public bool AreLast => _isGoingAway || _nextId < 0;

    public bool TryFind(int id, [NotNullWhen(true)] out Http2Stream? stream) => _streams.TryGetValue(id, out stream);

    /// <summary>Opens a stream; sends of its request what the windows let through.</summary>
    /// <returns>False if the peer takes no more now.</returns>
    public bool TryAdd(Http2Stream stream, ReadOnlySpan<byte> headers, ReadOnlySpan<byte> more, ReadOnlyMemory<byte> body)
    {
        if (AreLast || _streams.Count >= _maxStreams)
        {
            return false;
        }

        stream.Id = _nextId;
        stream.SendWindow = _initialWindow;
        stream.ReceiveWindow = StreamWindow;
        stream.HasHeaders = false;
        stream.Unsent = body;
        _nextId = unchecked(_nextId + 2);
        _streams.Add(stream.Id, stream);
        output.Headers(stream.Id, headers, more, _peerFrameBytes);
        SendBody(stream);
        return true;
    }

    /// <returns>False if it is not open.</returns>
    public bool Remove(Http2Stream stream)
    {
        if (!IsOpen(stream))
        {
            return false;
        }

        _streams.Remove(stream.Id);
        if (!stream.Unsent.IsEmpty)
        {
            stream.Unsent = default;
            _blocked.Remove(stream);
        }

        return true;
    }

    /// <summary>The response is whole. A request that is not has no reader any more.</summary>
    public void Finish(Http2Stream stream)
    {
        if (!stream.Unsent.IsEmpty)
        {
            output.ResetStream(stream.Id, Http2Error.None);
        }

        Remove(stream);
    }

    public List<Http2Stream> Clear()
    {
        List<Http2Stream> open = [.. _streams.Values];
        _streams.Clear();
        _blocked.Clear();
        return open;
    }

    /// <summary>Lets the peer send so many bytes more on a stream.</summary>
    public void Credit(Http2Stream stream, int bytes)
    {
        if (IsOpen(stream))
        {
            stream.ReceiveWindow += bytes;
            output.WindowUpdate(stream.Id, bytes);
        }
    }

    /// <summary>A frame of data came, of an open stream or another.</summary>
    /// <param name="frameBytes">Its padding included, which counts.</param>
    /// <exception cref="Http2Exception">It may not have come.</exception>
    public bool TryReceive(int id, int frameBytes, [NotNullWhen(true)] out Http2Stream? stream)
    {
        _receivedBytes += frameBytes;
        if (_receivedBytes > ConnectionWindow / 2)
        {
            output.WindowUpdate(0, _receivedBytes);
            _receivedBytes = 0;
        }

        if (!TryFind(id, out stream))
        {
            return false;
        }

        stream.ReceiveWindow -= frameBytes;
        return stream.ReceiveWindow < 0 ? throw new Http2Exception(Http2Error.FlowControl, $"it sent more on a stream than the {StreamWindow} bytes it may")
            : !stream.HasHeaders ? throw FrameReader.Broken("a body before its headers")
            : true;
    }

    /// <exception cref="Http2Exception">A value is out of its range.</exception>
    public void Apply(ReadOnlySpan<byte> settings)
    {
        for (; settings.Length >= 6; settings = settings[6..])
        {
            var value = BinaryPrimitives.ReadUInt32BigEndian(settings[2..]);
            switch ((SettingId)BinaryPrimitives.ReadUInt16BigEndian(settings))
            {
                case SettingId.MaxConcurrentStreams:
                    _maxStreams = value;
                    break;
                case SettingId.InitialWindowSize when value > int.MaxValue:
                    throw new Http2Exception(Http2Error.FlowControl, $"it set a window of {value} bytes");
                case SettingId.InitialWindowSize:
                    foreach (var stream in _streams.Values)
                    {
                        stream.SendWindow += value - _initialWindow;
                    }

                    _initialWindow = value;
                    break;
                case SettingId.MaxFrameSize when value is < FrameReader.MaxFrameBytes or > 0xffffff:
                    throw FrameReader.Broken($"a largest frame of {value} bytes");
                case SettingId.MaxFrameSize:
                    _peerFrameBytes = (int)value;
                    break;
            }
        }

        SendBlocked();
    }

    /// <summary>The peer takes more, on a stream or in all.</summary>
    /// <exception cref="Http2Exception">More than the protocol allows.</exception>
    public void OpenWindow(int id, int bytes)
    {
        if (id == 0)
        {
            _sendWindow += bytes;
            if (_sendWindow > int.MaxValue)
            {
                throw new Http2Exception(Http2Error.FlowControl, "it opened its window beyond 2 GiB");
            }
        }
        else if (TryFind(id, out var stream))
        {
            stream.SendWindow += bytes;
        }

        SendBlocked();
    }

    /// <summary>The peer takes no new streams.</summary>
    /// <returns>Those that it has not begun with, which are open no more.</returns>
    public List<Http2Stream> GoAway(int last)
    {
        _isGoingAway = true;
        List<Http2Stream> unprocessed = [.. _streams.Values.Where(stream => stream.Id > last)];
        unprocessed.ForEach(stream => Remove(stream));
        return unprocessed;
    }

    private bool IsOpen(Http2Stream stream) => _streams.TryGetValue(stream.Id, out var open) && open == stream;

    private void SendBlocked()
    {
        if (_blocked.Count > 0)
        {
            var waiting = _blocked.ToArray();
            _blocked.Clear();
            Array.ForEach(waiting, SendBody);
        }
    }

    private void SendBody(Http2Stream stream)
    {
        while (!stream.Unsent.IsEmpty)
        {
            var bytes = (int)Math.Min(Math.Min(stream.Unsent.Length, _peerFrameBytes), Math.Min(stream.SendWindow, _sendWindow));
            if (bytes <= 0)
            {
                _blocked.Add(stream);
                return;
            }

            var piece = stream.Unsent[..bytes];
            stream.Unsent = stream.Unsent[bytes..];
            stream.SendWindow -= bytes;
            _sendWindow -= bytes;
            output.Data(stream.Id, piece.Span, isLast: stream.Unsent.IsEmpty);
        }
    }
}
