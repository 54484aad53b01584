using System.Buffers;

namespace ScriptedServe.KvTransport.Memory;

/// <summary>Lets sockets read and write pool memory in place. One window that is moved along; what was handed out before a move is no longer valid.</summary>
internal sealed unsafe class PageMemory : MemoryManager<byte>
{
    private byte* _start;
    private int _length;

    public Memory<byte> At(byte* start, int length)
    {
        _start = start;
        _length = length;
        return Memory;
    }

    /// <summary>The slice's <paramref name="segment"/>th run of bytes in a page.</summary>
    public Memory<byte> Segment(KvPool pool, int layer, int page, in PageSlice slice, int segment) =>
        At(pool.PagePointer(layer, page) + slice.SegmentOffset(segment), slice.SegmentBytes);

    public override Span<byte> GetSpan() => new(_start, _length);

    public override MemoryHandle Pin(int elementIndex = 0) => new(_start + elementIndex, default, this);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
