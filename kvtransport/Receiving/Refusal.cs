using System.Net.Sockets;
using ScriptedServe.KvTransport.MessagePack;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Receiving;

/// <summary>How a receiver tells a sender why it ends their connection.</summary>
internal static class Refusal
{
    /// <summary>Whether there is anybody to tell: not where the connection broke, or we gave up.</summary>
    public static bool CanTell(Exception fault) => fault is not (OperationCanceledException or SocketException or EndOfStreamException);

    /// <summary>Says why, then reads what the peer still sends: closing at once would destroy the message on its way. Never fails.</summary>
    public static async Task TellAsync(FrameStream stream, Exception fault, CancellationToken cancellationToken)
    {
        if (!CanTell(fault))
        {
            return;
        }

        try
        {
            await stream.SendAsync(Of(fault), cancellationToken);
            stream.ShutdownSend();
            await stream.SkipToEndAsync(cancellationToken);
        }
        catch (Exception end) when (end is OperationCanceledException or SocketException)
        {
            // It did not want to know.
        }
    }

    private static Message Of(Exception fault) => fault switch
    {
        KvTransportException refused => Message.Refuse(refused.Fault, refused.Message),
        MessagePackException malformed => Message.Refuse(KvFault.Malformed, malformed.Message),
        _ => Message.Refuse(KvFault.Internal, $"The receiver failed: {fault.Message}"),
    };
}
