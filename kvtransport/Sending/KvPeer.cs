using System.Net.Sockets;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>A connection to a receiver between sessions, watched so that its end is noticed when it happens.</summary>
internal sealed class IdleConnection : IDisposable
{
    private readonly FrameStream _stream;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _watch;

    public IdleConnection(FrameStream stream, Action<IdleConnection> lost)
    {
        _stream = stream;
        _watch = WatchAsync(lost);
    }

    /// <summary>Stops watching and hands the connection out; null if it has ended meanwhile.</summary>
    public async Task<FrameStream?> TakeAsync()
    {
        await _stop.CancelAsync();
        await _watch;
        _stop.Dispose();
        if (!_stream.HasInput)
        {
            return _stream;
        }

        _stream.Dispose();
        return null;
    }

    /// <summary>After the connection was lost; otherwise take it.</summary>
    public void Dispose()
    {
        _stop.Dispose();
        _stream.Dispose();
    }

    private async Task WatchAsync(Action<IdleConnection> lost)
    {
        // Never within the constructor, whose caller still holds its lock.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        try
        {
            await _stream.InputAsync(_stop.Token);
        }
        catch (OperationCanceledException)
        {
            return;
        }
        catch (SocketException)
        {
            // An end as good as any.
        }

        if (!_stop.IsCancellationRequested)
        {
            lost(this);
        }
    }
}

/// <summary>
/// What is kept of one receiver between sessions: its mapped pool, if it is on this machine, and idle connections. A receiver that is seen to
/// end is retired at once, so that the mapping does not keep a dead engine's memory; it is unmapped when the last session over it is over.
/// </summary>
/// <param name="connect">Makes a connection that may open sessions.</param>
/// <param name="retired">Called once.</param>
internal sealed class KvPeer(string key, IPeerMemory? memory, Func<CancellationToken, Task<FrameStream>> connect, int maxIdle, Action<KvPeer> retired)
{
    private readonly Lock _gate = new();
    private readonly List<IdleConnection> _idle = [];
    private int _uses;
    private bool _retired;

    public string Key { get; } = key;

    /// <summary>Null if the receiver is reached by stream only.</summary>
    public IPeerMemory? Memory { get; } = memory;

    /// <summary>Holds the mapping for a session. False if the peer is retired.</summary>
    public bool TryUse()
    {
        lock (_gate)
        {
            _uses += _retired ? 0 : 1;
            return !_retired;
        }
    }

    /// <summary>The end of a use. A peer that neither a session nor a watched connection holds is retired: its end would go unnoticed.</summary>
    public async Task ReleaseAsync()
    {
        bool unwatched;
        lock (_gate)
        {
            _uses--;
            unwatched = _uses == 0 && _idle.Count == 0;
            UnmapIfUnused_NeedsLock();
        }

        if (unwatched)
        {
            await RetireAsync();
        }
    }

    public async Task<(FrameStream Stream, bool Reused)> ConnectAsync(CancellationToken cancellationToken)
    {
        while (PopIdle() is { } idle)
        {
            if (await idle.TakeAsync() is { } kept)
            {
                return (kept, true);
            }
        }

        return (await connect(cancellationToken), false);
    }

    /// <summary>Keeps a connection whose last session ended in order.</summary>
    public void Return(FrameStream stream)
    {
        lock (_gate)
        {
            if (!_retired && _idle.Count < maxIdle)
            {
                _idle.Add(new IdleConnection(stream, Lost));
                return;
            }
        }

        stream.Dispose();
    }

    /// <summary>No further session begins; idle connections are closed.</summary>
    public async Task RetireAsync()
    {
        lock (_gate)
        {
            if (_retired)
            {
                return;
            }

            _retired = true;
            UnmapIfUnused_NeedsLock();
        }

        retired(this);
        while (PopIdle() is { } idle)
        {
            (await idle.TakeAsync())?.Dispose();
        }
    }

    private void Lost(IdleConnection connection)
    {
        lock (_gate)
        {
            if (!_idle.Remove(connection))
            {
                // Being taken: whoever takes it sees for himself.
                return;
            }
        }

        connection.Dispose();
        _ = RetireAsync();
    }

    private IdleConnection? PopIdle()
    {
        lock (_gate)
        {
            if (_idle.Count == 0)
            {
                return null;
            }

            var last = _idle[^1];
            _idle.RemoveAt(_idle.Count - 1);
            return last;
        }
    }

    private void UnmapIfUnused_NeedsLock()
    {
        if (_retired && _uses == 0)
        {
            Memory?.Dispose();
        }
    }
}
