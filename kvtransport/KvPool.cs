namespace ScriptedServe.KvTransport;

/// <summary>
/// The memory that holds an engine's KV pages: <c>[layer][page]</c>, each page as <see cref="KvLayout"/> says.
/// It knows nothing of who uses a page; that is the engine's bookkeeping.
/// </summary>
public abstract unsafe class KvPool(KvLayout layout, int pages) : IDisposable
{
    public KvLayout Layout { get; } = layout;

    /// <summary>Pages a layer.</summary>
    public int Pages { get; } = pages;

    /// <summary>
    /// The first byte of a page, 64-byte aligned, <see cref="KvLayout.PageBytes"/> long. Valid until the pool is disposed.
    /// <paramref name="layer"/> and <paramref name="page"/> are not checked here: this is the inner loop's accessor.
    /// </summary>
    public abstract byte* PagePointer(int layer, int page);

    /// <summary>The bytes of a page.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such layer or page.</exception>
    public Span<byte> Page(int layer, int page)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)layer, (uint)Layout.Layers);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)page, (uint)Pages);
        return new Span<byte>(PagePointer(layer, page), Layout.PageBytes);
    }

    /// <summary>
    /// Copies a page over all layers (copy-on-write). The pages must differ, and nobody may write either meanwhile.
    /// Virtual for pools whose pointers the CPU cannot follow.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">No such page.</exception>
    public virtual void CopyPage(int from, int to)
    {
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            Page(layer, from).CopyTo(Page(layer, to));
        }
    }

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}
