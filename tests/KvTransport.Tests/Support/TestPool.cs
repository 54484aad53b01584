using System.Runtime.InteropServices;

namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>A pool in plain memory. A hook sees each page that is asked for: a fault point, or a way to hold a sender within a copy.</summary>
internal sealed unsafe class TestPool(KvLayout layout, int pages) : KvPool(layout, pages)
{
    private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc((nuint)(layout.PageBytesAllLayers * pages), 64);

    public Action<int, int>? Asked { get; set; }

    public override byte* PagePointer(int layer, int page)
    {
        Asked?.Invoke(layer, page);
        return _memory + ((((long)layer * Pages) + page) * Layout.PageBytes);
    }

    protected override void Dispose(bool disposing) => NativeMemory.AlignedFree(_memory);
}

internal static class Pools
{
    /// <summary>Small enough for thousands of transfers; a page is 2 KiB.</summary>
    public static readonly KvLayout Small = new("test", Layers: 3, KvHeads: 2, HeadDim: 16, PageTokens: 8, KvDataType.Float32);

    /// <summary>A page is 64 KiB, so that TCP takes the path without copies.</summary>
    public static readonly KvLayout Large = new("test-large", Layers: 2, KvHeads: 4, HeadDim: 128, PageTokens: 32, KvDataType.BFloat16);

    /// <summary>The same seed fills the same pages the same.</summary>
    public static T Filled<T>(this T pool, int seed)
        where T : KvPool
    {
        var random = new Random(seed);
        for (var layer = 0; layer < pool.Layout.Layers; layer++)
        {
            for (var page = 0; page < pool.Pages; page++)
            {
                random.NextBytes(pool.Page(layer, page));
            }
        }

        return pool;
    }

    /// <summary>All of a pool, layer after layer.</summary>
    public static byte[] Snapshot(this KvPool pool)
    {
        using var bytes = new MemoryStream();
        for (var layer = 0; layer < pool.Layout.Layers; layer++)
        {
            for (var page = 0; page < pool.Pages; page++)
            {
                bytes.Write(pool.Page(layer, page));
            }
        }

        return bytes.ToArray();
    }

    /// <summary>
    /// What the receiver must hold after [begin, end) was sent, by the definition of a page and nothing of the transport's own arithmetic: byte by byte of
    /// every key and value of every token.
    /// </summary>
    public static byte[] Expected(KvPool receiver, byte[] before, int[] to, int firstPosition, KvPool sender, int[] from, int begin, int end)
    {
        var layout = receiver.Layout;
        var expected = (byte[])before.Clone();
        for (var layer = 0; layer < layout.Layers; layer++)
        {
            for (var token = begin; token < end; token++)
            {
                var toPage = to[(token / layout.PageTokens) - (firstPosition / layout.PageTokens)];
                var source = sender.Page(layer, from[token / layout.PageTokens]);
                for (var plane = 0; plane < 2; plane++)
                {
                    for (var head = 0; head < layout.KvHeads; head++)
                    {
                        var inPage = ((((plane * layout.KvHeads) + head) * layout.PageTokens) + (token % layout.PageTokens)) * layout.HeadBytes;
                        source.Slice(inPage, layout.HeadBytes).CopyTo(expected.AsSpan(((layer * receiver.Pages) + toPage) * layout.PageBytes + inPage));
                    }
                }
            }
        }

        return expected;
    }
}
