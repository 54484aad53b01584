using System.Buffers;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>The bytes of a reply that have come and have not been read, in a rented buffer, and the whole messages among them. Not thread-safe.</summary>
internal sealed class ReplyBuffer(FrameRules rules) : IDisposable
{
    private const int FirstBytes = 512;

    private byte[] _buffer = [];
    private int _start;
    private int _end;

    /// <summary>Bytes that wait.</summary>
    public int Length => _end - _start;

    public void Add(ReadOnlySpan<byte> bytes)
    {
        if (_buffer.Length - _end < bytes.Length)
        {
            MakeRoom(bytes.Length);
        }

        bytes.CopyTo(_buffer.AsSpan(_end));
        _end += bytes.Length;
    }

    /// <summary>The first message, if all of it is here; it is valid until <see cref="Skip"/>.</summary>
    /// <exception cref="RpcException">Too large or compressed.</exception>
    public bool TryPeek(out ReadOnlySpan<byte> message)
    {
        message = default;
        if (Length < MessageFrames.HeaderBytes)
        {
            return false;
        }

        var bytes = rules.MessageBytes(_buffer.AsSpan(_start, MessageFrames.HeaderBytes));
        if (Length < MessageFrames.HeaderBytes + bytes)
        {
            return false;
        }

        message = _buffer.AsSpan(_start + MessageFrames.HeaderBytes, bytes);
        return true;
    }

    /// <summary>Done with a message of so many bytes.</summary>
    public void Skip(int messageBytes)
    {
        _start += MessageFrames.HeaderBytes + messageBytes;
        if (_start == _end)
        {
            (_start, _end) = (0, 0);
        }
    }

    /// <summary>What waits is dropped.</summary>
    public void Dispose()
    {
        if (_buffer.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(_buffer);
        }

        (_buffer, _start, _end) = ([], 0, 0);
    }

    /// <summary>It grows as bytes come, and not on a header's word.</summary>
    private void MakeRoom(int bytes)
    {
        var waiting = _buffer.AsSpan(_start, Length);
        if (_buffer.Length - Length >= bytes && _start >= Length)
        {
            waiting.CopyTo(_buffer);
        }
        else
        {
            var larger = ArrayPool<byte>.Shared.Rent(Math.Max(FirstBytes, Math.Max(2 * _buffer.Length, Length + bytes)));
            waiting.CopyTo(larger);
            if (_buffer.Length > 0)
            {
                ArrayPool<byte>.Shared.Return(_buffer);
            }

            _buffer = larger;
        }

        (_start, _end) = (0, Length);
    }
}
