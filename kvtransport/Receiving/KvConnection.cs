using System.Net.Sockets;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.MessagePack;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Receiving;

/// <summary>
/// One sender's connection to an endpoint, from the proof that it is of the cluster to its end; steps as numbered at <see cref="Message"/>. Whatever the peer
/// sends or fails to send ends this connection and no other.
/// </summary>
/// <param name="stream">Belongs to the caller.</param>
internal sealed class KvConnection(FrameStream stream, KvPool pool, GrantTable table, GrantLedger ledger, Func<ReadOnlyMemory<byte>, KvAddress> authenticate, KvEndpointOptions options) : IDisposable
{
    /// <summary>Of a sender that has a device write.</summary>
    private IPeerProcess? _process;

    public void Dispose() => _process?.Dispose();

    /// <summary>Serves until the peer closes, misbehaves, or <paramref name="shutdown"/>. Never fails.</summary>
    public async Task RunAsync(CancellationToken shutdown)
    {
        var limit = options.OpenTimeout;
        try
        {
            while (await ReadOpenAsync(limit, shutdown) is { } open)
            {
                await RunSessionAsync(open, shutdown);
                limit = options.IdleTimeout;
            }
        }
        catch (Exception fault) when (Refusal.CanTell(fault))
        {
            using var timeout = new CancellationTokenSource(options.OpenTimeout, options.TimeProvider);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, shutdown);
            await Refusal.TellAsync(stream, fault, either.Token);
        }
        catch (Exception fault) when (fault is OperationCanceledException or SocketException or EndOfStreamException)
        {
            // Too slow, gone, or we are going: nobody to tell.
        }
    }

    /// <summary>(1) of the protocol, as far as it can be judged without a grant.</summary>
    private async Task<Message?> ReadOpenAsync(TimeSpan limit, CancellationToken shutdown)
    {
        using var timeout = new CancellationTokenSource(limit, options.TimeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, shutdown);
        if (await stream.ReadAsync(either.Token) is not { } message)
        {
            return null;
        }

        if (message.Kind != MessageKind.Open)
        {
            throw new MessagePackException($"Expected Open, received {message.Kind}.");
        }

        return message;
    }

    private async Task RunSessionAsync(Message open, CancellationToken shutdown)
    {
        var sharedMemory = open.First != 0;
        var address = authenticate(open.Bytes);
        var grant = ledger.Find(address);
        if (sharedMemory && !stream.IsLocal)
        {
            // Only a unix socket's end proves that its process no longer writes.
            throw new KvTransportException(KvFault.Malformed, "Shared memory is controlled over the unix socket only.");
        }

        if (sharedMemory && pool.IsOnDevice)
        {
            _process ??= options.ProcessOf(stream.Socket, options.TimeProvider);
            if (grant.Begin % pool.Layout.PageTokens != 0)
            {
                // Its first page has tokens that are here already, and may be a copy of a cached one.
                pool.AwaitMoves();
            }
        }

        var cell = ledger.TakeCell();
        grant.SessionOpened(cell, sharedMemory);
        try
        {
            await stream.SendAsync(Message.Accept(cell), shutdown);
            if (sharedMemory)
            {
                await ControlSharedMemoryAsync(grant, shutdown);
            }
            else
            {
                await ReceiveStreamAsync(grant, cell, shutdown);
            }
        }
        finally
        {
            await EndSessionAsync(grant, cell, sharedMemory, shutdown);
        }

        // The session holds nothing any more, and only now is the sender told so.
        await stream.SendAsync(Message.Of(MessageKind.Closed), shutdown);
    }

    /// <summary>
    /// Takes back what a session still holds. A writer of shared memory that is within a copy is not stopped by losing us: only the end of its process, or
    /// its own close after it left, ends it. Either shows as the end of its side of the socket.
    /// </summary>
    private async Task EndSessionAsync(KvGrant grant, int cell, bool sharedMemory, CancellationToken shutdown)
    {
        if (sharedMemory && table.IsInside(cell))
        {
            await SkipToEndAsync(shutdown);
            if (_process is not null && table.IsInside(cell))
            {
                // It was killed within a copy, which its device may still be making.
                await _process.EndedAsync(shutdown).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        grant.SessionClosed(cell);
        if (!sharedMemory || !shutdown.IsCancellationRequested || !table.IsInside(cell))
        {
            ledger.ReturnCell(cell);
        }

        ledger.Recheck(grant.Slot);
    }

    private async Task ControlSharedMemoryAsync(KvGrant grant, CancellationToken shutdown)
    {
        // A commit waits for other writers to leave, and one of them may be stuck: the end of the grant ends that wait.
        using var revoked = CancellationTokenSource.CreateLinkedTokenSource(shutdown, grant.Revoked);
        while (true)
        {
            var message = await NextAsync(shutdown);
            switch (message.Kind)
            {
                case MessageKind.Left:
                    ledger.Recheck(grant.Slot);
                    break;
                case MessageKind.Commit:
                    await CommitAsync(grant, message, revoked.Token, shutdown);
                    break;
                case MessageKind.Close:
                    return;
                default:
                    throw new MessagePackException($"A session over shared memory does not send {message.Kind}.");
            }
        }
    }

    private async Task ReceiveStreamAsync(KvGrant grant, int cell, CancellationToken shutdown)
    {
        var written = new RangeSet[pool.Layout.Layers];
        for (var layer = 0; layer < written.Length; layer++)
        {
            written[layer] = new RangeSet();
        }

        using var either = CancellationTokenSource.CreateLinkedTokenSource(shutdown, grant.Revoked);
        using var settled = CancellationTokenSource.CreateLinkedTokenSource(shutdown, grant.Settled);
        try
        {
            while (true)
            {
                var message = await NextAsync(either.Token);
                switch (message.Kind)
                {
                    case MessageKind.Write:
                        await WriteAsync(grant, cell, message, settled.Token, either.Token);
                        written[message.First].Add(message.Second, message.Third);
                        break;
                    case MessageKind.Commit:
                        if (Array.FindIndex(written, ranges => !ranges.Covers(message.First, message.Second)) is >= 0 and var layer)
                        {
                            throw new KvTransportException(KvFault.Incomplete, $"Commit of tokens [{message.First}, {message.Second}) of which layer {layer} was not sent.");
                        }

                        await CommitAsync(grant, message, either.Token, shutdown);
                        break;
                    case MessageKind.Close:
                        return;
                    default:
                        throw new MessagePackException($"A stream session does not send {message.Kind}.");
                }
            }
        }
        catch (OperationCanceledException) when (!shutdown.IsCancellationRequested)
        {
            throw grant.Over();
        }
    }

    /// <summary>
    /// Reads the KV that follows a Write straight into the grant's pages. Checked before the first byte, fenced as every writer is. What another sender
    /// has made arrive meanwhile is read and forgotten.
    /// </summary>
    /// <param name="settled">Nobody may write any more: a peer that stalls must not keep the grant from arriving or ending.</param>
    private async Task WriteAsync(KvGrant grant, int cell, Message write, CancellationToken settled, CancellationToken cancellationToken)
    {
        var (layer, begin, end) = (write.First, write.Second, write.Third);
        if (layer < 0 || layer >= pool.Layout.Layers || begin < grant.Begin || end > grant.End || begin >= end)
        {
            throw new KvTransportException(KvFault.OutOfRange,
                $"A write of layer {layer}, tokens [{begin}, {end}); reservation {grant.ReservationId} holds [{grant.Begin}, {grant.End}) in {pool.Layout.Layers} layers.");
        }

        var payloadEnd = stream.PayloadRead + PageSlice.BytesOf(pool.Layout, begin, end);
        var state = table.Enter(cell, grant.Slot, grant.Generation);
        try
        {
            if (state == GrantState.Open)
            {
                await ReceivePagesAsync(grant, layer, begin, end, settled);
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // Settled within the write.
        }
        finally
        {
            if (!table.Leave(cell, grant.Slot, grant.Generation))
            {
                ledger.Recheck(grant.Slot);
            }
        }

        if (state == GrantState.Closed)
        {
            throw grant.Over();
        }

        await stream.SkipPayloadAsync(payloadEnd - stream.PayloadRead, cancellationToken);
    }

    private async Task ReceivePagesAsync(KvGrant grant, int layer, int begin, int end, CancellationToken cancellationToken)
    {
        using var window = new PageMemory();
        using var target = new HostPages(pool);
        var firstPage = (begin / pool.Layout.PageTokens) - (grant.Begin / pool.Layout.PageTokens);
        for (var index = 0; index < PageSlice.PagesOf(pool.Layout, begin, end); index++)
        {
            var page = grant.Pages[firstPage + index];
            var (to, toLayer, toPage) = target.Target(layer, page);
            var runs = PageSlice.Of(pool.Layout, begin, end, index).RunsIn(to);
            for (var run = 0; run < runs.Count; run++)
            {
                await stream.ReadPayloadAsync(window.Run(to, toLayer, toPage, runs, run), cancellationToken);
                target.Store(layer, page, runs, run);
            }

            grant.Touch();
        }

        target.Settle();
    }

    private async Task CommitAsync(KvGrant grant, Message commit, CancellationToken revoked, CancellationToken shutdown)
    {
        try
        {
            await grant.CommitAsync(commit.First, commit.Second).WaitAsync(revoked);
        }
        catch (OperationCanceledException) when (!shutdown.IsCancellationRequested)
        {
            throw grant.Over();
        }

        await stream.SendAsync(Message.Of(MessageKind.Committed), shutdown);
    }

    private async Task<Message> NextAsync(CancellationToken cancellationToken) =>
        await stream.ReadAsync(cancellationToken) ?? throw new EndOfStreamException("The sender closed within a session.");

    private async Task SkipToEndAsync(CancellationToken shutdown)
    {
        try
        {
            stream.ShutdownSend();
            await stream.SkipToEndAsync(shutdown);
        }
        catch (Exception fault) when (fault is OperationCanceledException or SocketException)
        {
            // Reset is an end too; a shutdown is told apart by the caller.
        }
    }
}
