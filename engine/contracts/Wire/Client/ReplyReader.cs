using System.Buffers;
using System.Runtime.CompilerServices;
using Google.Protobuf;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>
/// Reads the frames of a reply off its stream, through a rented buffer: <see cref="WaitAsync"/> until it answers false, and after each true
/// <see cref="Take"/> or a look at <see cref="Message"/> and <see cref="Skip"/>. Waiting allocates nothing of its own. Not thread-safe.
/// </summary>
internal sealed class ReplyReader<T>(Stream body, MessageParser<T> parser, FrameRules rules) : IDisposable
    where T : class, IMessage<T>
{
    private const int FirstBufferBytes = 4096;

    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(FirstBufferBytes);
    private int _start;
    private int _end;
    private int _messageBytes;

    /// <summary>The message that was waited for, as it came.</summary>
    public ReadOnlySpan<byte> Message => _buffer.AsSpan(_start + MessageFrames.HeaderBytes, _messageBytes);

    /// <returns>True once a whole message is here; false at the reply's end.</returns>
    /// <exception cref="RpcException">Too large, compressed or cut off.</exception>
    public ValueTask<bool> WaitAsync(CancellationToken cancellationToken) =>
        HasMessage() ? ValueTask.FromResult(true) : ReadAsync(cancellationToken);

    /// <summary>The message that was waited for, parsed; the next one is to be waited for.</summary>
    /// <exception cref="RpcException">It is not the message it should be.</exception>
    public T Take()
    {
        try
        {
            return parser.ParseFrom(Message);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw rules.NotThe(typeof(T).Name, _messageBytes, e);
        }
        finally
        {
            Skip();
        }
    }

    /// <summary>The next message is to be waited for.</summary>
    public void Skip() => _start += MessageFrames.HeaderBytes + _messageBytes;

    public void Dispose()
    {
        if (_buffer.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = [];
            (_start, _end) = (0, 0);
        }
    }

    private bool HasMessage()
    {
        var have = _end - _start;
        if (have < MessageFrames.HeaderBytes)
        {
            return false;
        }

        _messageBytes = rules.MessageBytes(_buffer.AsSpan(_start, MessageFrames.HeaderBytes));
        return have >= MessageFrames.HeaderBytes + _messageBytes;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> ReadAsync(CancellationToken cancellationToken)
    {
        do
        {
            MakeRoom();
            var read = await body.ReadAsync(_buffer.AsMemory(_end), cancellationToken);
            if (read == 0)
            {
                return _start == _end ? false : throw rules.CutOff(_end - _start);
            }

            _end += read;
        }
        while (!HasMessage());
        return true;
    }

    /// <summary>For more of the message that is not whole; a large one has the buffer grow as it comes, and not on its word.</summary>
    private void MakeRoom()
    {
        if (_start == _end)
        {
            (_start, _end) = (0, 0);
        }
        else if (_end == _buffer.Length)
        {
            var have = _end - _start;
            var larger = _start > 0 ? _buffer : ArrayPool<byte>.Shared.Rent(2 * _buffer.Length);
            _buffer.AsSpan(_start, have).CopyTo(larger);
            if (larger != _buffer)
            {
                ArrayPool<byte>.Shared.Return(_buffer);
                _buffer = larger;
            }

            (_start, _end) = (0, have);
        }
    }
}
