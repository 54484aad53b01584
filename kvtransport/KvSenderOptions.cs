namespace ScriptedServe.KvTransport;

/// <summary>How an engine sends KV.</summary>
public sealed record KvSenderOptions
{
    /// <summary>The same on all engines of a cluster; at least 16 bytes.</summary>
    public required byte[] ClusterSecret { get; init; }

    /// <summary>Write into the pools of engines on this machine directly, in memory of the host or of a device. Default true; false sends over TCP even there.</summary>
    public bool AllowSharedMemory { get; init; } = true;

    /// <summary>How long connecting, the answer to an open, and the orderly end of a session may each take. Default 10 s.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Connections to one engine that are kept for the next session. Default 4.</summary>
    public int MaxIdleConnections { get; init; } = 4;

    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}
