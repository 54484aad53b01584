using System.Runtime.InteropServices;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>A KV pool in this process's own memory.</summary>
internal sealed unsafe class HeapKvPool : KvPool
{
    private readonly int _stride;
    private byte* _memory;

    public HeapKvPool(KvLayout layout, int pages)
        : base(layout, pages)
    {
        _stride = (layout.PageBytes + 63) / 64 * 64;
        var bytes = (nuint)((long)_stride * pages * layout.Layers);
        _memory = (byte*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(_memory, bytes);
    }

    /// <summary>Called before a page is copied; may throw.</summary>
    public Action<int>? OnCopy { get; set; }

    public override void CopyPage(int from, int to)
    {
        OnCopy?.Invoke(from);
        base.CopyPage(from, to);
    }

    public override byte* PagePointer(int layer, int page) => _memory + ((((long)layer * Pages) + page) * _stride);

    protected override void Dispose(bool disposing)
    {
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }

    ~HeapKvPool() => Dispose(false);
}
