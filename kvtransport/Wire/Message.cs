using ScriptedServe.KvTransport.MessagePack;

namespace ScriptedServe.KvTransport.Wire;

/// <summary>The first value of a frame. The numbers are the protocol.</summary>
internal enum MessageKind
{
    /// <summary>Sender: address, whether it writes shared memory.</summary>
    Open = 1,

    /// <summary>Receiver: the session's cell of the grant table.</summary>
    Accept = 2,

    /// <summary>Receiver: fault, message. It then reads what still comes, and closes.</summary>
    Refuse = 3,

    /// <summary>Sender, streams only: layer, begin, end; the KV follows the frame, page slice after page slice.</summary>
    Write = 4,

    /// <summary>Sender: begin, end; all layers of these tokens were written.</summary>
    Commit = 5,

    /// <summary>Receiver: the tokens of the commit count.</summary>
    Committed = 6,

    /// <summary>Sender, shared memory only: left the pages of a grant that was no longer open.</summary>
    Left = 7,

    /// <summary>Sender: the session is over, the connection may serve another.</summary>
    Close = 8,

    /// <summary>Receiver: nothing is held for the session any more.</summary>
    Closed = 9,

    /// <summary>Receiver: version, challenge; the first message of a connection.</summary>
    Greet = 10,

    /// <summary>Sender: version, proof; see <see cref="ClusterProof"/>.</summary>
    Prove = 11,
}

/// <summary>
/// One frame of the control protocol, a MessagePack array of the kind and its values. Between engines it runs as numbered:
/// (0) Greet, Prove -> nothing, or Refuse, once a connection; (1) Open -> Accept | Refuse; (2) Write or Left, any number; (3) Commit -> Committed | Refuse, any number, mixed with (2);
/// (4) Close -> Closed, after which (1) may follow for another address.
/// </summary>
/// <param name="Bytes">With Open the address, with Greet the challenge, with Prove the proof.</param>
/// <param name="Text">With Refuse only.</param>
internal readonly record struct Message(MessageKind Kind, int First = 0, int Second = 0, int Third = 0, ReadOnlyMemory<byte> Bytes = default, string? Text = null)
{
    public const int ProtocolVersion = 2;
    private const int MaxTextChars = 2048;

    public static Message Open(ReadOnlyMemory<byte> address, bool sharedMemory) => new(MessageKind.Open, sharedMemory ? 1 : 0, Bytes: address);

    public static Message Greet(ReadOnlyMemory<byte> challenge) => new(MessageKind.Greet, ProtocolVersion, Bytes: challenge);

    public static Message Prove(ReadOnlyMemory<byte> proof) => new(MessageKind.Prove, ProtocolVersion, Bytes: proof);

    public static Message Accept(int cell) => new(MessageKind.Accept, cell);

    public static Message Refuse(KvFault fault, string text) => new(MessageKind.Refuse, (int)fault, Text: text.Length <= MaxTextChars ? text : text[..MaxTextChars]);

    public static Message Write(int layer, int begin, int end) => new(MessageKind.Write, layer, begin, end);

    public static Message Commit(int begin, int end) => new(MessageKind.Commit, begin, end);

    public static Message Of(MessageKind kind) => new(kind);

    public void Encode(MessagePackWriter writer)
    {
        writer.Clear();
        switch (Kind)
        {
            case MessageKind.Open:
                writer.WriteArrayHeader(3);
                writer.Write((int)Kind);
                writer.WriteBinary(Bytes.Span);
                writer.Write(First != 0);
                break;
            case MessageKind.Greet or MessageKind.Prove:
                writer.WriteArrayHeader(3);
                writer.Write((int)Kind);
                writer.Write(First);
                writer.WriteBinary(Bytes.Span);
                break;
            case MessageKind.Refuse:
                writer.WriteArrayHeader(3);
                writer.Write((int)Kind);
                writer.Write(First);
                writer.Write(Text!);
                break;
            default:
                var values = Values(Kind);
                writer.WriteArrayHeader(1 + values);
                writer.Write((int)Kind);
                ReadOnlySpan<int> all = [First, Second, Third];
                foreach (var value in all[..values])
                {
                    writer.Write(value);
                }

                break;
        }
    }

    /// <exception cref="MessagePackException">The bytes are no message of this protocol.</exception>
    public static Message Decode(ReadOnlySpan<byte> frame)
    {
        var reader = new MessagePackReader(frame);
        var count = reader.ReadArrayHeader();
        var kind = (MessageKind)reader.ReadInt32();
        var message = kind switch
        {
            MessageKind.Open when count == 3 => new Message(kind, Bytes: reader.ReadBinary().ToArray()) with { First = reader.ReadBoolean() ? 1 : 0 },
            MessageKind.Greet or MessageKind.Prove when count == 3 => new Message(kind, reader.ReadInt32(), Bytes: reader.ReadBinary().ToArray()),
            MessageKind.Refuse when count == 3 => new Message(kind, reader.ReadInt32(), Text: reader.ReadString()),
            _ when count == 1 + Values(kind) => new Message(kind, Next(ref reader, count > 1), Next(ref reader, count > 2), Next(ref reader, count > 3)),
            _ => throw new MessagePackException($"A {kind} message of {count} values."),
        };
        return reader.AtEnd ? message : throw new MessagePackException($"{frame.Length - reader.Consumed} bytes after a {kind} message.");
    }

    private static int Next(ref MessagePackReader reader, bool present) => present ? reader.ReadInt32() : 0;

    /// <summary>Whole numbers after the kind, for kinds that have nothing else; -1 for what is no such kind.</summary>
    private static int Values(MessageKind kind) => kind switch
    {
        MessageKind.Accept => 1,
        MessageKind.Write => 3,
        MessageKind.Commit => 2,
        MessageKind.Committed or MessageKind.Left or MessageKind.Close or MessageKind.Closed => 0,
        _ => int.MinValue,
    };
}
