using System.Buffers;
using System.Net;
using Google.Protobuf;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>A request body of one message, written in one piece.</summary>
internal sealed class MessageContent : HttpContent
{
    private readonly IMessage _message;

    public MessageContent(IMessage message)
    {
        _message = message;
        Headers.TryAddWithoutValidation("content-type", RpcHeaders.ContentType);
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        var frame = new ArrayBufferWriter<byte>(MessageFrames.HeaderBytes + Math.Max(_message.CalculateSize(), 1));
        MessageFrames.Write(frame, _message);
        await stream.WriteAsync(frame.WrittenMemory, cancellationToken);
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}
