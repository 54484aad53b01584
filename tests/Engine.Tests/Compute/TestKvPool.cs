using System.Runtime.InteropServices;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A pool in plain memory, filled with NaN: a read of KV that nobody wrote shows in the logits.</summary>
internal sealed unsafe class TestKvPool : KvPool
{
    private readonly TestKvPool[] _shards = [];
    private byte* _memory;

    public TestKvPool(KvLayout layout, int pages, int shards = 1)
        : base(layout, pages)
    {
        if (shards > 1)
        {
            _shards = [.. Enumerable.Range(0, shards).Select(_ => new TestKvPool(layout.Shard(shards), pages))];
            return;
        }

        nuint bytes = (nuint)(layout.PageBytesAllLayers * pages);
        _memory = (byte*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Fill(_memory, bytes, 0xFF);
    }

    public override int Shards => Math.Max(1, _shards.Length);

    public override KvPool Shard(int shard) => _shards.Length == 0 ? base.Shard(shard) : _shards[shard];

    public override byte* PagePointer(int layer, int page) => _shards.Length > 0
        ? throw new InvalidOperationException("The pool has several shards")
        : _memory + ((long)layer * Pages + page) * Layout.PageBytes;

    protected override void Dispose(bool disposing)
    {
        foreach (var shard in _shards)
        {
            shard.Dispose();
        }

        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }
}
