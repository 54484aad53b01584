using System.Net;
using System.Net.Sockets;
using ScriptedServe.KvTransport.Receiving;

namespace ScriptedServe.KvTransport;

/// <summary>How an engine is reached by senders of KV.</summary>
public sealed record KvEndpointOptions
{
    /// <summary>Names the engine in addresses and errors; at most 1024 bytes.</summary>
    public required string EngineId { get; init; }

    /// <summary>Differs for each start of the engine. A shared pool must have been created with the same.</summary>
    public required ulong Epoch { get; init; }

    /// <summary>The same on all engines of a cluster; at least 16 bytes.</summary>
    public required byte[] ClusterSecret { get; init; }

    /// <summary>
    /// Unix socket for senders of this machine, at most 107 bytes long; null for none, and then shared memory is not offered. The file is made on start (one left behind by
    /// a dead engine is replaced), readable by this user alone, and removed on disposal.
    /// </summary>
    public string? UnixPath { get; init; }

    /// <summary>Where to listen for senders of other machines, port 0 for a free one; null for nowhere.</summary>
    public IPEndPoint? TcpBind { get; init; }

    /// <summary>Host name or address that other machines reach <see cref="TcpBind"/> by. Default: the address bound to, which must then be a definite one.</summary>
    public string? AdvertisedHost { get; init; }

    /// <summary>How long a connection may take to show that it is of the cluster. Default 5 s.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a connection may then take to open its first session, and a refused one to close. Default 10 s.</summary>
    public TimeSpan OpenTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a connection may wait between two sessions. Default 5 minutes.</summary>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Connections of each listener at a time that have not shown yet that they are of the cluster; one more ends the oldest. Default 256.</summary>
    public int MaxNewcomers { get; init; } = 256;

    /// <summary>Connections of the cluster at a time; more are refused as busy. Default 4096.</summary>
    public int MaxConnections { get; init; } = 4096;

    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>The process at the other end of a unix socket.</summary>
    internal Func<Socket, TimeProvider, IPeerProcess> ProcessOf { get; init; } = PeerProcess.Of;

    /// <exception cref="ArgumentException">Names every setting that is wrong.</exception>
    internal void Validate(KvPool pool)
    {
        var errors = new List<string>();
        void Check(bool holds, string error)
        {
            if (!holds)
            {
                errors.Add(error);
            }
        }

        Check(EngineId.Length > 0, "EngineId is empty");
        Check(UnixPath is not null || TcpBind is not null, "neither UnixPath nor TcpBind is set: no sender could reach this engine");
        Check(UnixPath is null || System.Text.Encoding.UTF8.GetByteCount(UnixPath) <= 107, $"UnixPath {UnixPath} is longer than the 107 bytes a unix socket may have");
        Check(TcpBind is null || AdvertisedHost is not null || !(TcpBind.Address.Equals(IPAddress.Any) || TcpBind.Address.Equals(IPAddress.IPv6Any)),
            $"TcpBind {TcpBind} listens on every address, so AdvertisedHost must say which one others reach");
        Check(pool is not SharedKvPool shared || shared.Epoch == Epoch, "Epoch is not the one the shared pool was created with");
        Check(HandshakeTimeout > TimeSpan.Zero, $"HandshakeTimeout {HandshakeTimeout} is not above 0");
        Check(MaxNewcomers > 0, $"MaxNewcomers {MaxNewcomers} is not above 0");
        Check(OpenTimeout > TimeSpan.Zero, $"OpenTimeout {OpenTimeout} is not above 0");
        Check(IdleTimeout > TimeSpan.Zero, $"IdleTimeout {IdleTimeout} is not above 0");
        Check(MaxConnections > 0, $"MaxConnections {MaxConnections} is not above 0");
        if (errors.Count > 0)
        {
            throw new ArgumentException($"The KV endpoint cannot be started: {string.Join("; ", errors)}.");
        }
    }
}
