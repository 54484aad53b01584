using System.Buffers;
using System.Buffers.Binary;
using System.Net.Sockets;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.MessagePack;

namespace ScriptedServe.KvTransport.Wire;

/// <summary>
/// Messages over a stream socket: four bytes of length (little-endian), the message, and after some messages raw payload. One reader and one writer at a time.
/// Small pieces are gathered in buffers; large ones go between the socket and the caller's memory directly. Owns the socket.
/// </summary>
internal sealed class FrameStream(Socket socket, int inputBytes, int outputBytes, int maxFrameBytes) : IDisposable
{
    /// <summary>The longest message that a sender sends: an Open with its address.</summary>
    public const int OpenFrameBytes = KvAddressCodec.MaxBytes + 1024;

    /// <summary>The longest that a receiver sends: a Refuse with its text.</summary>
    public const int ReplyFrameBytes = 16 << 10;

    /// <summary>The longest before the peer is known: a Prove.</summary>
    public const int ProofFrameBytes = 128;

    /// <summary>From this size on a piece is not worth copying into a buffer.</summary>
    private const int DirectBytes = 32 << 10;

    private readonly MessagePackWriter _writer = new();
    private byte[] _input = ArrayPool<byte>.Shared.Rent(inputBytes);
    private byte[] _output = ArrayPool<byte>.Shared.Rent(outputBytes);
    private int _maxFrameBytes = maxFrameBytes;
    private int _inputAt;
    private int _inputEnd;
    private int _outputEnd;
    private bool _disposed;

    /// <summary>Bytes handed to readers since the start; a read that was cancelled has counted what it had got.</summary>
    public long PayloadRead { get; private set; }

    /// <summary>True if something of the peer waits to be read.</summary>
    public bool HasInput => _inputAt < _inputEnd || socket.Available > 0;

    public Socket Socket => socket;

    /// <summary>The peer is on this machine.</summary>
    public bool IsLocal => socket.AddressFamily == AddressFamily.Unix;

    /// <summary>Larger buffers and longer messages, for a peer that is worth it. No read or write may be under way.</summary>
    public void Widen(int inputBytes, int outputBytes, int maxFrameBytes)
    {
        var (input, output) = (ArrayPool<byte>.Shared.Rent(inputBytes), ArrayPool<byte>.Shared.Rent(outputBytes));
        _input.AsSpan(_inputAt, _inputEnd - _inputAt).CopyTo(input);
        _output.AsSpan(0, _outputEnd).CopyTo(output);
        ArrayPool<byte>.Shared.Return(_input);
        ArrayPool<byte>.Shared.Return(_output);
        (_input, _output, _inputAt, _inputEnd, _maxFrameBytes) = (input, output, 0, _inputEnd - _inputAt, maxFrameBytes);
    }

    /// <returns>Null if the peer has closed between two messages.</returns>
    /// <exception cref="MessagePackException">Not a message, or a longer one than may come.</exception>
    /// <exception cref="EndOfStreamException">The peer has closed within a message.</exception>
    public async ValueTask<Message?> ReadAsync(CancellationToken cancellationToken)
    {
        if (_inputAt == _inputEnd && !await FillAsync(cancellationToken))
        {
            return null;
        }

        var prefix = new byte[4];
        await ReadPayloadAsync(prefix, cancellationToken);
        var length = BinaryPrimitives.ReadUInt32LittleEndian(prefix);
        if (length == 0 || length > _maxFrameBytes)
        {
            throw new MessagePackException($"A message of {length} bytes; the limit is {_maxFrameBytes} here.");
        }

        var frame = new byte[length];
        await ReadPayloadAsync(frame, cancellationToken);
        return Message.Decode(frame);
    }

    /// <summary>Fills all of <paramref name="destination"/>.</summary>
    public async ValueTask ReadPayloadAsync(Memory<byte> destination, CancellationToken cancellationToken)
    {
        while (destination.Length > 0)
        {
            if (_inputAt == _inputEnd)
            {
                if (destination.Length >= DirectBytes)
                {
                    var received = await socket.ReceiveAsync(destination, SocketFlags.None, cancellationToken);
                    destination = received > 0 ? destination[received..] : throw Ended();
                    PayloadRead += received;
                    continue;
                }

                if (!await FillAsync(cancellationToken))
                {
                    throw Ended();
                }
            }

            var take = Math.Min(destination.Length, _inputEnd - _inputAt);
            _input.AsSpan(_inputAt, take).CopyTo(destination.Span);
            _inputAt += take;
            PayloadRead += take;
            destination = destination[take..];
        }
    }

    /// <summary>Reads and forgets.</summary>
    public async ValueTask SkipPayloadAsync(long bytes, CancellationToken cancellationToken)
    {
        while (bytes > 0)
        {
            if (_inputAt == _inputEnd && !await FillAsync(cancellationToken))
            {
                throw Ended();
            }

            var take = (int)Math.Min(bytes, _inputEnd - _inputAt);
            _inputAt += take;
            PayloadRead += take;
            bytes -= take;
        }
    }

    /// <summary>Reads and forgets until the peer closes.</summary>
    public async ValueTask SkipToEndAsync(CancellationToken cancellationToken)
    {
        while (await FillAsync(cancellationToken))
        {
        }
    }

    /// <summary>Completes when the peer has sent something or closed; reads nothing.</summary>
    public async Task InputAsync(CancellationToken cancellationToken) => await socket.ReceiveAsync(Memory<byte>.Empty, SocketFlags.None, cancellationToken);

    /// <summary>Queues a message; <see cref="FlushAsync"/> sends it at the latest.</summary>
    public ValueTask WriteAsync(Message message, CancellationToken cancellationToken)
    {
        message.Encode(_writer);
        var frame = new byte[4 + _writer.Written.Length];
        BinaryPrimitives.WriteInt32LittleEndian(frame, _writer.Written.Length);
        _writer.Written.CopyTo(frame.AsSpan(4));
        return WritePayloadAsync(frame, cancellationToken);
    }

    /// <summary>Queues bytes, or sends them now if they are many. They are no longer needed when this completes.</summary>
    public async ValueTask WritePayloadAsync(ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        if (payload.Length > _output.Length - _outputEnd)
        {
            await FlushAsync(cancellationToken);
        }

        if (payload.Length >= DirectBytes || payload.Length > _output.Length)
        {
            await FlushAsync(cancellationToken);
            await SendAllAsync(payload, cancellationToken);
            return;
        }

        payload.Span.CopyTo(_output.AsSpan(_outputEnd));
        _outputEnd += payload.Length;
    }

    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        var queued = _outputEnd;
        _outputEnd = 0;
        await SendAllAsync(_output.AsMemory(0, queued), cancellationToken);
    }

    /// <summary>Sends a message with all that is queued.</summary>
    public async ValueTask SendAsync(Message message, CancellationToken cancellationToken)
    {
        await WriteAsync(message, cancellationToken);
        await FlushAsync(cancellationToken);
    }

    /// <summary>Tells the peer that nothing more comes; reading goes on.</summary>
    public void ShutdownSend() => socket.Shutdown(SocketShutdown.Send);

    /// <summary>No read or write may be under way.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            socket.Dispose();
            ArrayPool<byte>.Shared.Return(_input);
            ArrayPool<byte>.Shared.Return(_output);
        }
    }

    private async ValueTask<bool> FillAsync(CancellationToken cancellationToken)
    {
        _inputAt = 0;
        _inputEnd = 0;
        _inputEnd = await socket.ReceiveAsync(_input, SocketFlags.None, cancellationToken);
        return _inputEnd > 0;
    }

    private async ValueTask SendAllAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (bytes.Length > 0)
        {
            bytes = bytes[await socket.SendAsync(bytes, SocketFlags.None, cancellationToken)..];
        }
    }

    private static EndOfStreamException Ended() => new("The peer closed the connection within a message.");
}
