using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>Has the device copy pages into the receiver's pool on the same device, or on one that it reaches. Neighbours that are neighbours there too go in one copy.</summary>
/// <param name="cell">The session's cell in the receiver's table.</param>
internal sealed class DevicePageWriter(KvPool local, PeerPages remote, GrantTable table, KvAddress address, int cell, FrameStream control, KvSenderOptions options)
    : FencedPageWriter(local.Layout, table, address, cell, control, options)
{
    /// <summary>Bounds how long a revoke waits: a fraction of a millisecond within a device, some ten between two.</summary>
    private const long MostBytes = 256 << 20;

    private readonly KvLayout _layout = local.Layout;
    private readonly PageCopies _copies = remote.NewCopies();

    public override string Transport => "ipc";

    public override int ChunkPages => (int)Math.Max(1, MostBytes / _layout.PageBytes);

    public override long GatheredBytes => MostBytes;

    public override bool CanGather(int layer) => _copies.HasLayer(layer);

    public override void Dispose() => _copies.Dispose();

    protected override void Prepare(ReadOnlySpan<PageRange> ranges)
    {
        foreach (ref readonly var range in ranges)
        {
            _copies.AwaitLayer(range.Layer);
        }
    }

    protected override void Copy(ReadOnlySpan<PageRange> ranges)
    {
        try
        {
            foreach (ref readonly var range in ranges)
            {
                Copy(range);
            }
        }
        finally
        {
            _copies.Wait();
        }
    }

    private void Copy(in PageRange range)
    {
        var pages = range.Pages.Span;
        var targets = Targets(range);
        for (int index = 0, run; index < pages.Length; index += run)
        {
            run = 1;
            var slice = PageSlice.Of(_layout, range.Begin, range.End, index);
            if (!slice.IsWholePage)
            {
                var parts = slice.RunsIn(local);
                for (var part = 0; part < parts.Count; part++)
                {
                    _copies.Copy(range.Layer, pages[index], targets[index], parts.OffsetOf(part), parts.Bytes);
                }

                continue;
            }

            while (index + run < pages.Length && pages[index + run] == pages[index] + run && targets[index + run] == targets[index] + run
                && PageSlice.Of(_layout, range.Begin, range.End, index + run).IsWholePage)
            {
                run++;
            }

            _copies.Copy(range.Layer, pages[index], targets[index], 0, (long)run * _layout.PageBytes);
        }
    }
}
