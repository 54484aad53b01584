using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Receiving;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport;

/// <summary>
/// The receiving end of one engine: owns the listeners, the connections and the grants over a pool that it does not own. With a <see cref="SharedKvPool"/>, or a pool on a device that others can open, and a unix
/// socket, senders of this machine write the pool themselves; everyone else sends over TCP. Dispose it before the pool.
/// </summary>
public sealed class KvEndpoint : IKvReceiver
{
    // A peer that answers none of the probes is gone after 20 + 3 * 5 seconds.
    private const int ProbeAfterSeconds = 20;
    private const int ProbeEverySeconds = 5;
    private const int Probes = 3;

    private readonly KvPool _pool;
    private readonly KvEndpointOptions _options;
    private readonly KvAddressCodec _codec;
    private readonly GrantTable _table;
    private readonly GrantLedger _ledger;
    private readonly ShmRoute? _shm;
    private readonly GrantRegion? _region;
    private readonly DeviceRoute? _device;
    private readonly TcpRoute? _tcp;
    private readonly List<(Socket Socket, Doorway Door)> _listeners = [];
    private readonly List<Task> _accepting = [];
    private readonly ConcurrentDictionary<Task, byte> _connections = new();
    private readonly SemaphoreSlim _places;
    private readonly CancellationTokenSource _shutdown = new();
    private Task? _disposal;

    private KvEndpoint(KvPool pool, KvEndpointOptions options)
    {
        _pool = pool;
        _options = options;
        _codec = new KvAddressCodec(options.ClusterSecret);
        _places = new SemaphoreSlim(options.MaxConnections);
        var proof = new ClusterProof(options.ClusterSecret);
        try
        {
            if (options.UnixPath is { } control && pool is { IsOnDevice: true, Shards: 1 } && pool.Export() is { } export)
            {
                _region = GrantRegion.Create(pool.Layout, pool.Pages, options.Epoch, SharedKvPool.DefaultGrantSlots);
                _device = new DeviceRoute(_region.Path, _region.Nonce, control, export);
            }

            if (options.UnixPath is { } path)
            {
                _listeners.Add((ListenUnix(path), new Doorway(proof, options)));
            }

            if (options.TcpBind is { } bind)
            {
                var (listener, port) = ListenTcp(bind);
                _listeners.Add((listener, new Doorway(proof, options)));
                _tcp = new TcpRoute(options.AdvertisedHost ?? bind.Address.ToString(), port);
            }
        }
        catch
        {
            _listeners.ForEach(listener => listener.Socket.Dispose());
            _region?.Dispose();
            throw;
        }

        if (pool is SharedKvPool shared)
        {
            _table = shared.Grants;
            _shm = options.UnixPath is null ? null : new ShmRoute(shared.Path, shared.Nonce, options.UnixPath);
        }
        else
        {
            _table = _region?.Grants ?? GrantTable.InPrivateMemory(SharedKvPool.DefaultGrantSlots, SharedKvPool.DefaultGrantSlots);
        }

        _ledger = new GrantLedger(_table);
        _accepting.AddRange(_listeners.Select(listener => Task.Run(() => AcceptAsync(listener.Socket, listener.Door))));
    }

    /// <summary>The TCP port listened on, or null.</summary>
    public int? TcpPort => _tcp?.Port;

    /// <summary>Connections now.</summary>
    public int Connections => _connections.Count;

    /// <summary>Those of them that have not shown yet that they are of the cluster.</summary>
    public int Newcomers => _listeners.Sum(listener => listener.Door.Count);

    /// <summary>Sending sessions now.</summary>
    public int Sessions => _ledger.CellsInUse;

    /// <exception cref="ArgumentException">The options are wrong; the message names each fault.</exception>
    /// <exception cref="IOException">The unix socket's path is in use by a live process, or cannot be made.</exception>
    /// <exception cref="SocketException">The TCP address cannot be bound.</exception>
    public static KvEndpoint Start(KvPool pool, KvEndpointOptions options)
    {
        options.Validate(pool);
        return new KvEndpoint(pool, options);
    }

    public IKvGrant Grant(string reservationId, ReadOnlySpan<int> pages, int begin, int end, Action<IKvGrant>? arrived = null)
    {
        ObjectDisposedException.ThrowIf(_disposal is not null, this);
        CheckPages(pages, begin, end);
        var copy = pages.ToArray();
        var grant = _ledger.Add((slot, generation) => new KvGrant(reservationId, copy, begin, end, _table, slot, generation, _options.TimeProvider, arrived, _ledger.Remove));
        try
        {
            grant.Address = _codec.Encode(new KvAddress(
                _options.EngineId, _options.Epoch, reservationId, grant.Slot, grant.Generation, _pool.Layout.Fingerprint, begin, end, copy, _shm, _tcp, _device));
        }
        catch
        {
            _ = grant.RevokeAsync();
            throw;
        }

        if (begin == end)
        {
            _ = grant.CommitAsync(begin, end);
        }

        return grant;
    }

    /// <summary>Free and held add up. For tests, and when idle.</summary>
    /// <exception cref="InvalidOperationException">They do not.</exception>
    public void CheckIntegrity()
    {
        ObjectDisposedException.ThrowIf(_region is not null && _disposal is not null, this);
        _ledger.CheckIntegrity();
    }

    /// <summary>
    /// Closes the listeners and all connections and ends all grants. Does not wait for senders of other processes that are within a copy: their mapping outlives
    /// the pool, and what they write is nobody's any more.
    /// </summary>
    public ValueTask DisposeAsync()
    {
        lock (_listeners)
        {
            _disposal ??= DisposeCoreAsync();
        }

        return new ValueTask(_disposal);
    }

    private async Task DisposeCoreAsync()
    {
        await _shutdown.CancelAsync();
        _listeners.ForEach(listener => listener.Socket.Dispose());
        await Task.WhenAll(_accepting);
        await Task.WhenAll(_connections.Keys);
        foreach (var grant in _ledger.All)
        {
            await grant.GiveUpAsync();
        }

        if (_region is not null)
        {
            // Whoever has the memory open closes it when it finds its connections gone; it is not freed under one that has not yet, nor under one that was killed.
            _region.Close();
            if (_region.Openings > 0)
            {
                _pool.Abandon();
            }

            _region.Dispose();
        }

        if (_options.UnixPath is { } path)
        {
            File.Delete(path);
        }

        _places.Dispose();
        _shutdown.Dispose();
    }

    private void CheckPages(ReadOnlySpan<int> pages, int begin, int end)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(begin);
        ArgumentOutOfRangeException.ThrowIfLessThan(end, begin);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(end - begin, KvAddressCodec.MaxTokens);
        var expected = PageSlice.PagesOf(_pool.Layout, begin, end);
        if (pages.Length != expected)
        {
            throw new ArgumentException($"{pages.Length} pages for tokens [{begin}, {end}); with {_pool.Layout.PageTokens} tokens a page they need {expected}.", nameof(pages));
        }

        var seen = new HashSet<int>(pages.Length);
        foreach (var page in pages)
        {
            if (page < 0 || page >= _pool.Pages || !seen.Add(page))
            {
                throw new ArgumentException($"Page {page} is not one of the pool's {_pool.Pages}, or occurs twice.", nameof(pages));
            }
        }
    }

    private async Task AcceptAsync(Socket listener, Doorway door)
    {
        try
        {
            while (true)
            {
                Socket socket;
                try
                {
                    socket = await listener.AcceptAsync(_shutdown.Token);
                }
                catch (SocketException)
                {
                    // The peer was gone before it was accepted, or descriptors are short: neither ends the listener.
                    await Task.Delay(TimeSpan.FromMilliseconds(20), _options.TimeProvider, _shutdown.Token);
                    continue;
                }

                Track(ServeAsync(socket, door, await door.EnterAsync()));
            }
        }
        catch (Exception fault) when (fault is OperationCanceledException or ObjectDisposedException)
        {
            // Disposal.
        }
    }

    /// <summary>Owns the socket. Never fails.</summary>
    private async Task ServeAsync(Socket socket, Doorway door, Newcomer newcomer)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        using (socket)
        {
            var isOfCluster = false;
            using var stream = new FrameStream(socket, inputBytes: 256, outputBytes: 256, FrameStream.ProofFrameBytes);
            try
            {
                SetOptions(socket);
                isOfCluster = await door.IsOfClusterAsync(stream, newcomer, _shutdown.Token);
            }
            catch (Exception fault) when (fault is SocketException or ObjectDisposedException)
            {
                // Gone before it began.
            }
            finally
            {
                door.Leave(newcomer);
            }

            if (isOfCluster)
            {
                await ServeSenderAsync(stream);
            }
        }
    }

    private async Task ServeSenderAsync(FrameStream stream)
    {
        if (!_places.Wait(0))
        {
            using var limit = new CancellationTokenSource(_options.HandshakeTimeout, _options.TimeProvider);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, _shutdown.Token);
            await Refusal.TellAsync(stream, new KvTransportException(KvFault.Busy, $"{_options.MaxConnections} senders are connected, as many as MaxConnections allows."), either.Token);
            return;
        }

        try
        {
            stream.Widen(inputBytes: 64 << 10, outputBytes: 4 << 10, FrameStream.OpenFrameBytes);
            using var connection = new KvConnection(stream, _pool, _table, _ledger, Authenticate, _options);
            await connection.RunAsync(_shutdown.Token);
        }
        finally
        {
            _places.Release();
        }
    }

    private void Track(Task connection)
    {
        _connections.TryAdd(connection, 0);
        connection.ContinueWith(done => _connections.TryRemove(done, out _), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    private KvAddress Authenticate(ReadOnlyMemory<byte> bytes)
    {
        var address = _codec.Decode(bytes.Span);
        if (address.EngineId != _options.EngineId || address.Epoch != _options.Epoch)
        {
            throw new KvTransportException(KvFault.WrongEpoch,
                $"The KV address is of engine {address.EngineId}, epoch {address.Epoch}; this is {_options.EngineId}, epoch {_options.Epoch}. The engine has been restarted since.");
        }

        address.CheckAgainst(_pool.Layout);
        return address;
    }

    internal static void SetOptions(Socket socket)
    {
        if (socket.AddressFamily != AddressFamily.Unix)
        {
            socket.NoDelay = true;
            // A machine that vanished sends nothing; without this its connection would stay for ever. By default the first probe goes out after two hours,
            // and for as long an open session would renew its reservation's lease.
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, ProbeAfterSeconds);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, ProbeEverySeconds);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, Probes);
        }
    }

    private static Socket ListenUnix(string path)
    {
        if (File.Exists(path))
        {
            using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                probe.Connect(new UnixDomainSocketEndPoint(path));
            }
            catch (SocketException)
            {
                // Left behind by a process that is gone.
                File.Delete(path);
            }

            if (probe.Connected)
            {
                throw new IOException($"The unix socket {path} is in use by another process; give this engine a UnixPath of its own.");
            }
        }

        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }

            listener.Listen(512);
            return listener;
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    private static (Socket Listener, int Port) ListenTcp(IPEndPoint bind)
    {
        var listener = new Socket(bind.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(bind);
            listener.Listen(512);
            return (listener, ((IPEndPoint)listener.LocalEndPoint!).Port);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }
}
