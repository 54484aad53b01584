using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>Copies pages into the receiver's mapped pool, each call within the fence of <see cref="GrantTable"/>, whose steps are numbered there.</summary>
/// <param name="cell">The session's cell in the receiver's table.</param>
internal sealed class ShmPageWriter(KvPool local, SharedKvPool remote, KvAddress address, int cell, FrameStream control, KvSenderOptions options) : IPageWriter
{
    private readonly HostPages _source = new(local);

    public string Transport => "shm";

    public void Dispose() => _source.Dispose();

    public async ValueTask<long> WriteAsync(int layer, ReadOnlyMemory<int> pages, int begin, int end, CancellationToken cancellationToken)
    {
        var table = remote.Grants;
        // Outside of the fence: the receiver does not wait for a device of ours.
        var (source, sourceLayer) = _source.Load(layer, pages.Span);
        var stillOpen = true;
        var state = GrantState.Closed;
        try
        {
            state = table.Enter(cell, address.Slot, address.Generation);
            if (state == GrantState.Open)
            {
                Copy(source, sourceLayer, layer, pages.Span, begin, end);
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
            GrantState.Open => PageSlice.BytesOf(local.Layout, begin, end),
            GrantState.Complete => 0,
            _ => throw new KvTransportException(KvFault.Ended, $"Reservation {address.ReservationId} on engine {address.EngineId} has ended: it was released, aborted, or its lease ran out."),
        };
    }

    private void Copy(KvPool source, int sourceLayer, int layer, ReadOnlySpan<int> pages, int begin, int end)
    {
        var firstPage = (begin / local.Layout.PageTokens) - (address.Begin / local.Layout.PageTokens);
        for (var index = 0; index < pages.Length; index++)
        {
            PageSlice.Of(local.Layout, begin, end, index).RunsIn(source, remote)
                .Copy(source, sourceLayer, _source.PageOf(pages, index), remote, layer, address.Pages[firstPage + index]);
        }
    }
}
