using System.Net.Sockets;
using ScriptedServe.Contracts.Wire.Client.Http2;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>
/// The connections to one server: made when needed, shared by all calls, and another when those there are take no more streams. Thread-safe.
/// </summary>
internal sealed class ConnectionSet(EngineAddress address, EngineClientOptions options) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _closing = new();
    private Http2Connection[] _connections = [];
    private Task<Http2Connection>? _connecting;
    private bool _isClosed;

    /// <summary>The connections that are there now; some may have ended.</summary>
    public ReadOnlySpan<Http2Connection> Present => Volatile.Read(ref _connections);

    /// <summary>Returns when there is one more. Callers that need one at the same time wait for the same.</summary>
    /// <exception cref="Exception">It could not be made.</exception>
    public Task<Http2Connection> AddAsync()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isClosed, this);
            return _connecting ??= ConnectAsync();
        }
    }

    public void Dispose()
    {
        Http2Connection[] open;
        lock (_gate)
        {
            if (_isClosed)
            {
                return;
            }

            _isClosed = true;
            open = _connections;
            _connections = [];
        }

        _closing.Cancel();
        foreach (var connection in open)
        {
            connection.Dispose();
        }
    }

    private async Task<Http2Connection> ConnectAsync()
    {
        // Off the lock of whoever asked first.
        await Task.Yield();
        Http2Connection? made = null;
        try
        {
            return made = await MakeAsync();
        }
        finally
        {
            lock (_gate)
            {
                _connecting = null;
                if (_isClosed)
                {
                    made?.Dispose();
                }
                else if (made is not null)
                {
                    _connections = [.. _connections.Where(static connection => !connection.HasEnded), made];
                }
            }
        }
    }

    /// <exception cref="IOException">The server hung up, or does not speak HTTP/2.</exception>
    /// <exception cref="SocketException">It cannot be reached.</exception>
    /// <exception cref="TimeoutException">Not within <see cref="EngineClientOptions.ConnectTimeout"/>.</exception>
    private async Task<Http2Connection> MakeAsync()
    {
        using var timeout = new CancellationTokenSource(options.ConnectTimeout, options.Clock);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token, timeout.Token);
        var socket = address.SocketPath is null
            ? new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true }
            : new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        Http2Connection? connection = null;
        try
        {
            await socket.ConnectAsync(address.ToEndPoint(), stop.Token);
            connection = new Http2Connection(socket, options);
            connection.Start();
            await connection.Settled.WaitAsync(stop.Token);
            return connection;
        }
        catch (Exception e)
        {
            connection?.Dispose();
            socket.Dispose();
            throw _closing.IsCancellationRequested ? new ObjectDisposedException(nameof(ConnectionSet), e)
                : timeout.IsCancellationRequested ? new TimeoutException($"no connection within {options.ConnectTimeout.TotalSeconds:0.#} s", e)
                : e;
        }
    }
}
