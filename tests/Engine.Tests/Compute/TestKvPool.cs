using System.Runtime.InteropServices;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A pool in plain memory, filled with NaN: a read of KV that nobody wrote shows in the logits.</summary>
internal sealed unsafe class TestKvPool : KvPool
{
    private byte* _memory;

    public TestKvPool(KvLayout layout, int pages)
        : base(layout, pages)
    {
        nuint bytes = (nuint)(layout.PageBytesAllLayers * pages);
        _memory = (byte*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Fill(_memory, bytes, 0xFF);
    }

    public override byte* PagePointer(int layer, int page) => _memory + ((long)layer * Pages + page) * Layout.PageBytes;

    protected override void Dispose(bool disposing)
    {
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }
}
