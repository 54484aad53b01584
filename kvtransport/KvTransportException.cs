namespace ScriptedServe.KvTransport;

/// <summary>Why KV could not be moved. The numbers are sent to peers: they are never reused.</summary>
public enum KvFault
{
    /// <summary>Bytes that are no KV address, or no message of the protocol.</summary>
    Malformed = 1,

    /// <summary>The authentication code does not match: another cluster's secret, or the bytes were changed.</summary>
    Forged = 2,

    /// <summary>Well-formed, of a version this build does not speak.</summary>
    UnsupportedVersion = 3,

    /// <summary>The KV of these engines cannot be mixed: other model, shape, page size or type.</summary>
    WrongLayout = 4,

    /// <summary>The address names another engine, or an earlier start of this one.</summary>
    WrongEpoch = 5,

    /// <summary>The reservation is not there: it was released, aborted, has expired, or never was.</summary>
    Ended = 6,

    /// <summary>A page, layer or token range outside the reservation.</summary>
    OutOfRange = 7,

    /// <summary>A commit of tokens that were not sent in every layer.</summary>
    Incomplete = 8,

    /// <summary>The receiver has as many sending sessions as it takes.</summary>
    Busy = 9,

    /// <summary>None of the address's transports leads to the engine.</summary>
    Unreachable = 10,

    /// <summary>The connection ended before the receiver had acknowledged.</summary>
    Disconnected = 11,

    /// <summary>A fault of the receiver's own.</summary>
    Internal = 12,

    /// <summary>A grant's pages lie too scattered for its address, which is bounded: fewer tokens, or larger pages.</summary>
    Scattered = 13,
}

/// <summary>KV was not moved. The message says what, where and the limit, for a person to act on.</summary>
public class KvTransportException(KvFault fault, string message, Exception? inner = null) : Exception(message, inner)
{
    public KvFault Fault { get; } = fault;
}

/// <summary>A KV address that this engine will not use: nothing was connected and nothing written.</summary>
public sealed class KvAddressException(KvFault fault, string message) : KvTransportException(fault, message);
