using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using Google.Protobuf;

namespace ScriptedServe.Contracts.Wire;

/// <summary>Length-prefixed messages: one byte of flags (1: compressed), four of big-endian length, the message.</summary>
internal static class MessageFrames
{
    public const int HeaderBytes = 5;

    /// <summary>A frame of its own.</summary>
    public static byte[] Of(IMessage message)
    {
        var messageBytes = message.CalculateSize();
        var frame = new byte[HeaderBytes + messageBytes];
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(1), (uint)messageBytes);
        message.WriteTo(frame.AsSpan(HeaderBytes));
        return frame;
    }

    /// <summary>Writes a frame without flushing, and returns its size in bytes.</summary>
    public static int Write(IBufferWriter<byte> output, IMessage message)
    {
        var messageBytes = message.CalculateSize();
        var header = output.GetSpan(HeaderBytes);
        header[0] = 0;
        BinaryPrimitives.WriteUInt32BigEndian(header[1..], (uint)messageBytes);
        output.Advance(HeaderBytes);
        message.WriteTo(output);
        return HeaderBytes + messageBytes;
    }
}

/// <summary>How one side words and classes what is wrong with the frames it receives.</summary>
internal sealed record FrameRules(string Receives, RpcStatus Malformed, RpcStatus Compressed, int MaxMessageBytes)
{
    public static FrameRules ForServer(int maxMessageBytes) =>
        new("request", RpcStatus.InvalidArgument, RpcStatus.Unimplemented, maxMessageBytes);

    public static FrameRules ForClient(int maxMessageBytes) =>
        new("reply", RpcStatus.Internal, RpcStatus.Internal, maxMessageBytes);

    /// <summary>The size that a frame's header tells.</summary>
    /// <exception cref="RpcException">Compressed, too large or no header.</exception>
    public int MessageBytes(ReadOnlySpan<byte> header)
    {
        if (header[0] != 0)
        {
            throw header[0] == 1
                ? new RpcException(Compressed, $"The {Receives} is compressed; only the identity encoding is supported.")
                : new RpcException(Malformed, $"The {Receives} has a frame with flags {header[0]}; expected 0 or 1.");
        }

        var messageBytes = BinaryPrimitives.ReadUInt32BigEndian(header[1..]);
        return messageBytes <= MaxMessageBytes
            ? (int)messageBytes
            // Known from the header alone: nothing of it is buffered.
            : throw new RpcException(RpcStatus.ResourceExhausted, $"The {Receives} has {messageBytes} bytes; the limit is {MaxMessageBytes} (fixed: no setting changes it).");
    }

    public RpcException CutOff(long bytes) =>
        new(Malformed, $"The {Receives} ends in the middle of a message: {bytes} bytes of its frame arrived.");

    public RpcException NotThe(string message, long bytes, InvalidProtocolBufferException cause) =>
        new(Malformed, $"The {Receives} of {bytes} bytes is not a {message}: {cause.Message}", inner: cause);
}

/// <summary>Reads messages off a body, parsing in place. Not thread-safe.</summary>
internal sealed class MessageReader<T>(PipeReader body, MessageParser<T> parser, FrameRules rules)
    where T : class, IMessage<T>
{
    /// <summary>The next message, or null at the body's end.</summary>
    /// <exception cref="RpcException">Too large, compressed, cut off or not the message it should be.</exception>
    public async ValueTask<T?> ReadAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var result = await body.ReadAsync(cancellationToken);
            var buffer = result.Buffer;
            if (TryRead(ref buffer) is { } message)
            {
                body.AdvanceTo(buffer.Start);
                return message;
            }

            if (result.IsCompleted)
            {
                return buffer.IsEmpty
                    ? null
                    : throw rules.CutOff(buffer.Length);
            }

            body.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    private T? TryRead(ref ReadOnlySequence<byte> buffer)
    {
        if (buffer.Length < MessageFrames.HeaderBytes)
        {
            return null;
        }

        Span<byte> header = stackalloc byte[MessageFrames.HeaderBytes];
        buffer.Slice(0, MessageFrames.HeaderBytes).CopyTo(header);
        var messageBytes = rules.MessageBytes(header);
        if (buffer.Length < MessageFrames.HeaderBytes + messageBytes)
        {
            return null;
        }

        var bytes = buffer.Slice(MessageFrames.HeaderBytes, messageBytes);
        buffer = buffer.Slice(bytes.End);
        try
        {
            return parser.ParseFrom(bytes);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw rules.NotThe(typeof(T).Name, messageBytes, e);
        }
    }
}
