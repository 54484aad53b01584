using System.Runtime.InteropServices;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>A KV pool in this process's own memory; in several shards each has memory of its own.</summary>
internal sealed unsafe class HeapKvPool : KvPool
{
    private readonly int _stride;
    private readonly HeapKvPool[] _shards = [];
    private byte* _memory;

    public HeapKvPool(KvLayout layout, int pages, int shards = 1)
        : base(layout, pages)
    {
        if (shards > 1)
        {
            _shards = [.. Enumerable.Range(0, shards).Select(_ => new HeapKvPool(layout.Shard(shards), pages))];
            return;
        }

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

    public override int Shards => Math.Max(1, _shards.Length);

    public override KvPool Shard(int shard) => _shards.Length == 0 ? base.Shard(shard) : _shards[shard];

    public override byte* PagePointer(int layer, int page) => _shards.Length > 0
        ? throw new InvalidOperationException("The pool has several shards")
        : _memory + ((((long)layer * Pages) + page) * _stride);

    protected override void Dispose(bool disposing)
    {
        foreach (var shard in _shards)
        {
            shard.Dispose();
        }

        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }

    ~HeapKvPool() => Dispose(false);
}
