namespace ScriptedServe.KvTransport.MessagePack;

/// <summary>Bytes that are not MessagePack, or not the value that was asked for. The message names the offset.</summary>
public sealed class MessagePackException(string message) : Exception(message);
