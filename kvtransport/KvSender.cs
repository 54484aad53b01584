using System.Net.Sockets;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Sending;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport;

/// <summary>
/// The sending end of one engine, over a pool that it does not own. It writes the pools of engines on this machine directly, in memory of the host ("shm") or of a device that this one's reaches ("ipc"), and sends
/// to all others, or where that fails, over TCP. Mappings and connections are kept between sessions and dropped when the receiver is seen to end. Dispose the sessions first, then this, then the pool.
/// </summary>
public sealed class KvSender(KvPool pool, KvSenderOptions options) : IKvSender
{
    private readonly KvAddressCodec _codec = new(options.ClusterSecret);
    private readonly ClusterProof _proof = new(options.ClusterSecret);
    private readonly Lock _gate = new();
    private readonly Dictionary<string, KvPeer> _peers = [];
    private bool _disposed;

    /// <summary>Receivers whose mapping or connections are kept now.</summary>
    public int Peers
    {
        get
        {
            lock (_gate)
            {
                return _peers.Count;
            }
        }
    }

    public async Task<IKvSendSession> OpenAsync(ReadOnlyMemory<byte> address, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var decoded = _codec.Decode(address.Span);
        decoded.CheckAgainst(pool.Layout);
        var unreachable = new List<string>();
        if (decoded.Device is { } device && options.AllowSharedMemory)
        {
            try
            {
                return await OpenAsync(DevicePeer(decoded, device), decoded, address, cancellationToken);
            }
            catch (Exception fault) when (IsNoWay(fault))
            {
                unreachable.Add($"ipc: {fault.Message}");
            }
        }

        if (decoded.Shm is { } shm && options.AllowSharedMemory)
        {
            try
            {
                return await OpenAsync(ShmPeer(decoded, shm), decoded, address, cancellationToken);
            }
            catch (Exception fault) when (IsNoWay(fault))
            {
                unreachable.Add($"shm: {fault.Message}");
            }
        }

        if (decoded.Tcp is { } tcp)
        {
            try
            {
                return await OpenAsync(TcpPeer(decoded, tcp), decoded, address, cancellationToken);
            }
            catch (Exception fault) when (IsNoWay(fault))
            {
                unreachable.Add($"tcp {tcp.Host}:{tcp.Port}: {fault.Message}");
            }
        }

        throw new KvTransportException(KvFault.Unreachable, unreachable.Count == 0
            ? $"Engine {decoded.EngineId} offers no transport that this engine can use{(decoded.Shm is null && decoded.Device is null ? "" : " (shared memory is not allowed here, TCP is not offered)")}."
            : $"Engine {decoded.EngineId} cannot be reached. {string.Join("; ", unreachable)}");
    }

    /// <summary>Closes idle connections and unmaps pools; a session that is still open keeps its own until it is disposed.</summary>
    public async ValueTask DisposeAsync()
    {
        List<KvPeer> peers;
        lock (_gate)
        {
            _disposed = true;
            peers = [.. _peers.Values];
        }

        foreach (var peer in peers)
        {
            await peer.RetireAsync();
        }
    }

    /// <summary>The transport does not lead there; another may. A refusal, in contrast, is the engine's own word.</summary>
    private static bool IsNoWay(Exception fault) => fault is IOException or SocketException or UnauthorizedAccessException
        || fault is KvTransportException { Fault: KvFault.Unreachable or KvFault.Disconnected };

    /// <exception cref="IOException">The pool cannot be mapped.</exception>
    /// <exception cref="KvTransportException">Unreachable: the path leads to something else.</exception>
    private KvPeer ShmPeer(KvAddress address, ShmRoute route) => Peer($"{route.ControlPath} {route.Nonce} {address.Epoch}", key =>
    {
        SharedKvPool mapped;
        try
        {
            mapped = SharedKvPool.Attach(route.Path, pool.Layout, address.Epoch, route.Nonce);
        }
        catch (KvTransportException other)
        {
            throw new KvTransportException(KvFault.Unreachable, other.Message, other);
        }

        return new KvPeer(key, new SharedPeerMemory(mapped), token => ConnectUnixAsync(route.ControlPath, token), options.MaxIdleConnections, Forget);
    });

    /// <exception cref="IOException">The receiver is not on this machine.</exception>
    /// <exception cref="KvTransportException">Unreachable: its memory cannot be opened here.</exception>
    private KvPeer DevicePeer(KvAddress address, DeviceRoute route) => Peer($"{route.ControlPath} {route.Nonce} {address.Epoch}", key =>
        new KvPeer(key, new DevicePeerMemory(pool, address, route), token => ConnectUnixAsync(route.ControlPath, token), options.MaxIdleConnections, Forget));

    private KvPeer TcpPeer(KvAddress address, TcpRoute route) => Peer($"{route.Host}:{route.Port} {address.Epoch}", key =>
        new KvPeer(key, null, token => ConnectTcpAsync(route, token), options.MaxIdleConnections, Forget));

    /// <summary>A peer in use; release it.</summary>
    private KvPeer Peer(string key, Func<string, KvPeer> make)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_peers.TryGetValue(key, out var peer) || !peer.TryUse())
            {
                _peers[key] = peer = make(key);
                peer.TryUse();
            }

            return peer;
        }
    }

    private void Forget(KvPeer peer)
    {
        lock (_gate)
        {
            if (_peers.TryGetValue(peer.Key, out var known) && known == peer)
            {
                _peers.Remove(peer.Key);
            }
        }
    }

    /// <param name="peer">In use; this use passes to the session.</param>
    private async Task<IKvSendSession> OpenAsync(KvPeer peer, KvAddress address, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(options.ConnectTimeout, options.TimeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            while (true)
            {
                var (stream, reused) = await peer.ConnectAsync(either.Token);
                try
                {
                    await stream.SendAsync(Message.Open(bytes, peer.Memory is not null), either.Token);
                    var accept = await PeerReply.ExpectAsync(stream, MessageKind.Accept, either.Token);
                    return new KvSendSession(pool, address, Writer(peer, address, accept.First, stream), stream, options, (done, reusable) => OverAsync(peer, done, reusable));
                }
                catch (Exception fault) when (reused && (fault is SocketException or EndOfStreamException || fault is KvTransportException { Fault: KvFault.Disconnected }))
                {
                    // The receiver closed it as it was taken up again; nothing was begun, so another is tried.
                    stream.Dispose();
                }
                catch
                {
                    stream.Dispose();
                    throw;
                }
            }
        }
        catch (Exception fault)
        {
            await peer.ReleaseAsync();
            if (IsNoWay(fault))
            {
                await peer.RetireAsync();
            }

            if (fault is OperationCanceledException && !cancellationToken.IsCancellationRequested)
            {
                throw new KvTransportException(KvFault.Unreachable, $"no answer within the ConnectTimeout of {options.ConnectTimeout}", fault);
            }

            throw;
        }
    }

    private IPageWriter Writer(KvPeer peer, KvAddress address, int cell, FrameStream stream)
    {
        if (peer.Memory is not { } remote)
        {
            return new StreamPageWriter(pool, stream);
        }

        // What follows is written without further checks, so a damaged address must not get past here.
        var outside = Array.FindIndex(address.Pages, page => page >= remote.Pages);
        return outside < 0 && address.Slot < remote.Grants.Slots && cell >= 0 && cell < remote.Grants.Cells
            ? remote.NewWriter(pool, address, cell, stream, options)
            : throw new KvTransportException(KvFault.OutOfRange, $"Reservation {address.ReservationId} names a page, slot or cell outside engine {address.EngineId}'s pool of {remote.Pages} pages.");
    }

    private static async Task OverAsync(KvPeer peer, FrameStream stream, bool reusable)
    {
        if (reusable)
        {
            peer.Return(stream);
        }
        else
        {
            stream.Dispose();
        }

        await peer.ReleaseAsync();
    }

    private Task<FrameStream> ConnectUnixAsync(string path, CancellationToken cancellationToken) => ConnectAsync(
        new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), socket => socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken), cancellationToken);

    private Task<FrameStream> ConnectTcpAsync(TcpRoute route, CancellationToken cancellationToken) => ConnectAsync(
        new Socket(SocketType.Stream, ProtocolType.Tcp), socket => socket.ConnectAsync(route.Host, route.Port, cancellationToken), cancellationToken);

    /// <summary>(0) of the protocol; the proof leaves together with the Open that follows.</summary>
    private async Task<FrameStream> ConnectAsync(Socket socket, Func<Socket, ValueTask> connect, CancellationToken cancellationToken)
    {
        FrameStream? stream = null;
        try
        {
            await connect(socket);
            KvEndpoint.SetOptions(socket);
            stream = new FrameStream(socket, inputBytes: 4 << 10, outputBytes: 128 << 10, FrameStream.ReplyFrameBytes);
            var greet = await PeerReply.ExpectAsync(stream, MessageKind.Greet, cancellationToken);
            if (greet.First != Message.ProtocolVersion)
            {
                throw new KvTransportException(KvFault.UnsupportedVersion, $"The receiver speaks version {greet.First} of the KV protocol; this engine speaks {Message.ProtocolVersion}.");
            }

            await stream.WriteAsync(Message.Prove(_proof.Of(greet.Bytes.Span)), cancellationToken);
            return stream;
        }
        catch
        {
            stream?.Dispose();
            socket.Dispose();
            throw;
        }
    }
}
