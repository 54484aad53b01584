namespace ScriptedServe.KvTransport;

/// <summary>
/// A few pages in memory of the host, through which pages of a pool in a device's memory go to transports and come from them: page i of its one layer is a place for any page. One caller
/// at a time, beside whatever the device computes. Disposing gives it back to its pool.
/// </summary>
/// <param name="layout">The device pool's.</param>
/// <param name="pages">Places, at least 1.</param>
public abstract class PageStaging(KvLayout layout, int pages) : KvPool(layout with { Layers = 1 }, pages)
{
    /// <summary>Brings pages of a layer to the places from 0 on. Waits until they are there, and before that for the computation that writes them.</summary>
    public abstract void Load(int layer, ReadOnlySpan<int> pages);

    /// <summary>Begins to bring bytes of a place to the same bytes of a page of the device. They must stay as they are until <see cref="Settle"/>.</summary>
    public abstract void Store(int place, int layer, int page, int offset, int bytes);

    /// <summary>Waits until all that was stored is on the device; so does disposing.</summary>
    public abstract void Settle();
}
