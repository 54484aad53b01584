namespace ScriptedServe.Engine.Kv;

/// <summary>A growing list of pages whose memory can be lent out.</summary>
internal sealed class PageList
{
    private int[] _pages = [];

    public int Count { get; private set; }

    /// <summary>All pages. Valid until the list changes.</summary>
    public ReadOnlyMemory<int> Memory => _pages.AsMemory(0, Count);

    public ReadOnlySpan<int> Span => _pages.AsSpan(0, Count);

    public int this[int index]
    {
        get => Span[index];
        set => _pages.AsSpan(0, Count)[index] = value;
    }

    /// <summary>Makes room for so many pages in all, so that adding them allocates nothing.</summary>
    public void Reserve(int pages)
    {
        if (pages > _pages.Length)
        {
            Array.Resize(ref _pages, pages);
        }
    }

    public void Add(int page)
    {
        if (Count == _pages.Length)
        {
            Reserve(Math.Max(8, 2 * Count));
        }

        _pages[Count++] = page;
    }

    public void RemoveLast() => Count--;
}
