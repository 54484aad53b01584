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
    /// Parts that the pages are cut into by heads, one for each rank of a tensor-parallel engine, as far as there are heads: shard i has the keys and values of heads
    /// [i * kvHeads / shards, (i + 1) * kvHeads / shards) of every page. 1 for most pools. Says nothing to others: engines of any number exchange KV.
    /// </summary>
    public virtual int Shards => 1;

    /// <summary>
    /// A shard as a pool of its own, with <see cref="KvLayout.Shard"/> of this one's layout. It has as many pages, and page i of it is its part of page i. The only shard
    /// of a pool is the pool itself. Not to be disposed.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">No such shard.</exception>
    public virtual KvPool Shard(int shard) => shard == 0 ? this : throw new ArgumentOutOfRangeException(nameof(shard));

    /// <summary>
    /// The first byte of a page, 64-byte aligned, <see cref="KvLayout.PageBytes"/> long. Valid until the pool is disposed.
    /// <paramref name="layer"/> and <paramref name="page"/> are not checked here: this is the inner loop's accessor. A page of several shards is in as many places: ask them.
    /// </summary>
    /// <exception cref="InvalidOperationException">The pool has several shards.</exception>
    public abstract byte* PagePointer(int layer, int page);

    /// <summary>The bytes of a page, in a pool of one shard.</summary>
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
        for (var shard = 0; shard < Shards; shard++)
        {
            var pages = Shard(shard);
            for (var layer = 0; layer < Layout.Layers; layer++)
            {
                pages.Page(layer, from).CopyTo(pages.Page(layer, to));
            }
        }
    }

    /// <summary>The pages are in memory of a device: <see cref="PagePointer"/> says where, the CPU cannot follow it, and transports go by <see cref="RentStaging"/>.</summary>
    public virtual bool IsOnDevice => false;

    /// <summary>Pages that a staging area has places for: about a mebibyte of them.</summary>
    public virtual int StagedPages => Math.Max(1, (1 << 20) / Layout.PageBytes);

    /// <summary>A staging area of <see cref="StagedPages"/>, for pools on a device. Thread-safe; dispose of it before the pool.</summary>
    /// <exception cref="InvalidOperationException">The pool is in the host's memory.</exception>
    public virtual PageStaging RentStaging() => throw new InvalidOperationException($"A {GetType().Name} is in the host's memory and needs no staging.");

    /// <summary>
    /// Waits until all <see cref="CopyPage"/> so far has been done: a device does it later, and would do away with what another process has written to the page meanwhile. Thread-safe.
    /// </summary>
    public virtual void AwaitMoves()
    {
    }

    /// <summary>The memory for other processes of this machine to open, or null where they cannot: the pool is not on a device, or its driver does not share it.</summary>
    public virtual DeviceExport? Export() => null;

    /// <summary>Opens another process's pool of the same layout for copies from this one.</summary>
    /// <param name="pages">Pages a layer that it has.</param>
    /// <exception cref="KvTransportException"><see cref="KvFault.Unreachable"/>, with what is in the way: another way is to be taken.</exception>
    public virtual PeerPages OpenPeer(DeviceExport export, int pages) => throw new KvTransportException(KvFault.Unreachable, "this engine's KV is not in the memory of one device");

    /// <summary>Other processes still have the exported memory open: disposing leaves it to the driver, which frees it when this process has ended and they have closed it.</summary>
    public virtual void Abandon()
    {
    }

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}
