using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>Copies pages into the receiver's mapped pool.</summary>
/// <param name="cell">The session's cell in the receiver's table.</param>
internal sealed class ShmPageWriter(KvPool local, SharedKvPool remote, KvAddress address, int cell, FrameStream control, KvSenderOptions options)
    : FencedPageWriter(local.Layout, remote.Grants, address, cell, control, options)
{
    private readonly HostPages _source = new(local);
    private (KvPool Pool, int Layer) _loaded;

    public override string Transport => "shm";

    public override int ChunkPages => local.StagedPages;

    public override long GatheredBytes => 0;

    public override bool CanGather(int layer) => false;

    public override void Dispose() => _source.Dispose();

    protected override void Prepare(ReadOnlySpan<PageRange> ranges) => _loaded = _source.Load(ranges[0].Layer, ranges[0].Pages.Span);

    protected override void Copy(ReadOnlySpan<PageRange> ranges)
    {
        var range = ranges[0];
        var pages = range.Pages.Span;
        var targets = Targets(range);
        for (var index = 0; index < pages.Length; index++)
        {
            PageSlice.Of(local.Layout, range.Begin, range.End, index).RunsIn(_loaded.Pool, remote)
                .Copy(_loaded.Pool, _loaded.Layer, _source.PageOf(pages, index), remote, range.Layer, targets[index]);
        }
    }
}
