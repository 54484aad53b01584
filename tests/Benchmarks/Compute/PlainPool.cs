using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.ComputeBenchmarks;

/// <summary>A KV pool in this process's memory.</summary>
internal sealed unsafe class PlainPool(KvLayout layout, int pages) : KvPool(layout, pages)
{
    private readonly NativeBuffer _memory = new(layout.PageBytesAllLayers * pages);

    public override byte* PagePointer(int layer, int page) => _memory.Pointer + ((long)layer * Pages + page) * Layout.PageBytes;

    /// <summary>Puts numbers of ordinary size into all pages, so that they are memory of their own: pages never written may be one in the caches.</summary>
    public void Fill(Random random)
    {
        var numbers = new byte[Layout.PageBytes];
        random.NextBytes(numbers);
        for (int i = Layout.ElementBytes - 1; i < numbers.Length; i += Layout.ElementBytes)
        {
            // The upper byte of an f32 or bf16 between 0.5 and 2, or of an f16 between 1.75 and 2.
            numbers[i] = 0x3f;
        }

        for (int layer = 0; layer < Layout.Layers; layer++)
        {
            for (int page = 0; page < Pages; page++)
            {
                numbers.CopyTo(Page(layer, page));
            }
        }
    }

    protected override void Dispose(bool disposing) => _memory.Dispose();
}
