namespace ScriptedServe.KvTransport.Memory;

/// <summary>A pool's pages where the CPU reaches them: in the pool itself, or in a staging area of it that is rented with the first use. One caller at a time.</summary>
internal sealed class HostPages(KvPool pool) : IDisposable
{
    private PageStaging? _staging;
    private int _stored;

    /// <summary>Makes pages of a layer readable.</summary>
    /// <param name="pages">At most <see cref="KvPool.StagedPages"/>.</param>
    /// <returns>The pool, layer and pages to read.</returns>
    public (KvPool Pool, int Layer) Load(int layer, ReadOnlySpan<int> pages)
    {
        if (!pool.IsOnDevice)
        {
            return (pool, layer);
        }

        var staging = Staging();
        staging.Load(layer, pages);
        return (staging, 0);
    }

    /// <summary>Where <see cref="Load"/> left the page of this index.</summary>
    public int PageOf(ReadOnlySpan<int> pages, int index) => pool.IsOnDevice ? index : pages[index];

    /// <summary>Where the bytes of a page are to be put that come from elsewhere.</summary>
    public (KvPool Pool, int Layer, int Page) Target(int layer, int page)
    {
        if (!pool.IsOnDevice)
        {
            return (pool, layer, page);
        }

        var staging = Staging();
        if (_stored == staging.Pages)
        {
            Settle();
        }

        return (staging, 0, _stored++);
    }

    /// <summary>A run of the last target is there.</summary>
    public unsafe void Store(int layer, int page, in PageRuns runs, int run)
    {
        if (_staging is { } staging)
        {
            var place = _stored - 1;
            staging.Store(place, layer, page, (int)(runs.Find(staging, 0, place, run) - staging.PagePointer(0, place)), runs.Bytes);
        }
    }

    /// <summary>Waits until all that was stored is in the pool.</summary>
    public void Settle()
    {
        _staging?.Settle();
        _stored = 0;
    }

    public void Dispose() => _staging?.Dispose();

    private PageStaging Staging() => _staging ??= pool.RentStaging();
}
