using ScriptedServe.KvTransport.MessagePack;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>Reads a receiver's answers and turns refusals into exceptions.</summary>
internal static class PeerReply
{
    /// <exception cref="KvTransportException">The receiver refuses, or has gone, or speaks another protocol.</exception>
    public static async ValueTask<Message> ExpectAsync(FrameStream stream, MessageKind expected, CancellationToken cancellationToken)
    {
        try
        {
            var message = await stream.ReadAsync(cancellationToken)
                ?? throw new KvTransportException(KvFault.Disconnected, $"The receiver closed the connection before it answered {expected}.");
            return message.Kind switch
            {
                MessageKind.Refuse => throw new KvTransportException(Enum.IsDefined((KvFault)message.First) ? (KvFault)message.First : KvFault.Internal, $"The receiver refuses: {message.Text}"),
                _ when message.Kind == expected => message,
                _ => throw new KvTransportException(KvFault.Malformed, $"The receiver answered {message.Kind} where {expected} was due."),
            };
        }
        catch (MessagePackException fault)
        {
            throw new KvTransportException(KvFault.Malformed, $"The receiver does not speak the KV protocol. {fault.Message}", fault);
        }
    }

    /// <summary>For when only a refusal can come.</summary>
    public static async ValueTask<KvTransportException> ReadRefusalAsync(FrameStream stream, CancellationToken cancellationToken)
    {
        try
        {
            var message = await ExpectAsync(stream, MessageKind.Refuse, cancellationToken);
            return new KvTransportException(KvFault.Malformed, $"The receiver sent {message.Kind} within a transfer.");
        }
        catch (KvTransportException refusal)
        {
            return refusal;
        }
    }
}
