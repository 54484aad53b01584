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

    /// <summary>One of the runs in which a pool has a slice.</summary>
    public Memory<byte> Run(KvPool pool, int layer, int page, in PageRuns runs, int run) => At(runs.Find(pool, layer, page, run), runs.Bytes);

    public override Span<byte> GetSpan() => new(_start, _length);

    public override MemoryHandle Pin(int elementIndex = 0) => new(_start + elementIndex, default, this);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
