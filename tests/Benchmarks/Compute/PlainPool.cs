using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.ComputeBenchmarks;

/// <summary>A KV pool in this process's memory.</summary>
internal sealed unsafe class PlainPool(KvLayout layout, int pages) : KvPool(layout, pages)
{
    private readonly NativeBuffer _memory = new(layout.PageBytesAllLayers * pages);

    public override byte* PagePointer(int layer, int page) => _memory.Pointer + ((long)layer * Pages + page) * Layout.PageBytes;

    protected override void Dispose(bool disposing) => _memory.Dispose();
}
