using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>Sends pages as Write messages. Large pages go from the pool to the socket directly.</summary>
internal sealed class StreamPageWriter(KvPool local, FrameStream stream) : IPageWriter
{
    private readonly HostPages _source = new(local);

    public string Transport => "tcp";

    public int ChunkPages => local.StagedPages;

    public long GatheredBytes => 0;

    public bool CanGather(int layer) => false;

    public void Dispose() => _source.Dispose();

    public async ValueTask<long> WriteAsync(ReadOnlyMemory<PageRange> ranges, CancellationToken cancellationToken)
    {
        var (layer, pages, begin, end) = ranges.Span[0];
        if (stream.HasInput)
        {
            // Within a write the receiver says nothing but why it will take no more.
            throw await PeerReply.ReadRefusalAsync(stream, cancellationToken);
        }

        using var window = new PageMemory();
        var (source, sourceLayer) = _source.Load(layer, pages.Span);
        await stream.WriteAsync(Message.Write(layer, begin, end), cancellationToken);
        for (var index = 0; index < pages.Length; index++)
        {
            var runs = PageSlice.Of(local.Layout, begin, end, index).RunsIn(source);
            for (var run = 0; run < runs.Count; run++)
            {
                await stream.WritePayloadAsync(window.Run(source, sourceLayer, _source.PageOf(pages.Span, index), runs, run), cancellationToken);
            }
        }

        // Sent now, so that a layer is on its way while the next one computes.
        await stream.FlushAsync(cancellationToken);
        return PageSlice.BytesOf(local.Layout, begin, end);
    }
}
