using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>Writes the receiver's pages from this process, each call within the fence of <see cref="GrantTable"/>, whose steps are numbered there.</summary>
/// <param name="cell">The session's cell in the receiver's table.</param>
internal abstract class FencedPageWriter(KvLayout layout, GrantTable table, KvAddress address, int cell, FrameStream control, KvSenderOptions options) : IPageWriter
{
    public abstract string Transport { get; }

    public abstract int ChunkPages { get; }

    public abstract long GatheredBytes { get; }

    public abstract bool CanGather(int layer);

    public abstract void Dispose();

    public async ValueTask<long> WriteAsync(ReadOnlyMemory<PageRange> ranges, CancellationToken cancellationToken)
    {
        // Outside of the fence: the receiver does not wait for a device of ours.
        Prepare(ranges.Span);
        var stillOpen = true;
        var state = GrantState.Closed;
        try
        {
            state = table.Enter(cell, address.Slot, address.Generation);
            if (state == GrantState.Open)
            {
                Copy(ranges.Span);
            }
        }
        finally
        {
            stillOpen = table.Leave(cell, address.Slot, address.Generation);
        }

        if (!stillOpen)
        {
            // Not cancellable: the receiver may be waiting for just this. Where it cannot be sent, the connection's end says the same.
            using var limit = new CancellationTokenSource(options.ConnectTimeout, options.TimeProvider);
            await control.SendAsync(Message.Of(MessageKind.Left), limit.Token);
        }

        return state switch
        {
            GrantState.Open => ranges.Span.Bytes(layout),
            GrantState.Complete => 0,
            _ => throw new KvTransportException(KvFault.Ended, $"Reservation {address.ReservationId} on engine {address.EngineId} has ended: it was released, aborted, or its lease ran out."),
        };
    }

    /// <summary>Makes the pages readable.</summary>
    protected abstract void Prepare(ReadOnlySpan<PageRange> ranges);

    /// <summary>Copies them; when it returns, or throws, nothing is being copied any more.</summary>
    protected abstract void Copy(ReadOnlySpan<PageRange> ranges);

    /// <summary>The receiver's pages for those of a range, from its first on.</summary>
    protected ReadOnlySpan<int> Targets(in PageRange range) => address.Pages.AsSpan((range.Begin / layout.PageTokens) - (address.Begin / layout.PageTokens));
}
