namespace ScriptedServe.KvTransport.Memory;

/// <summary>
/// The part of one page that a range of token positions covers. The bytes of a slice are not contiguous unless it is the whole page: keys and values of
/// each head have a run of <see cref="SegmentBytes"/> each. Over a stream a slice travels as its segments in order, which for a whole page is the page as it lies.
/// </summary>
/// <param name="Slot">The first token's place in the page.</param>
/// <param name="Count">Tokens, at least 1.</param>
internal readonly record struct PageSlice(KvLayout Layout, int Slot, int Count)
{
    public bool IsWholePage => Count == Layout.PageTokens;

    public int Segments => IsWholePage ? 1 : 2 * Layout.KvHeads;

    public int SegmentBytes => IsWholePage ? Layout.PageBytes : Count * Layout.HeadBytes;

    public int Bytes => Segments * SegmentBytes;

    /// <summary>Pages that [begin, end) touches.</summary>
    public static int PagesOf(KvLayout layout, int begin, int end) => end <= begin ? 0 : ((end - 1) / layout.PageTokens) - (begin / layout.PageTokens) + 1;

    /// <summary>Bytes of one layer of [begin, end).</summary>
    public static long BytesOf(KvLayout layout, int begin, int end) => (long)(end - begin) * 2 * layout.KvHeads * layout.HeadBytes;

    /// <summary>What [begin, end) covers of the <paramref name="index"/>th page it touches.</summary>
    public static PageSlice Of(KvLayout layout, int begin, int end, int index)
    {
        var pageStart = ((begin / layout.PageTokens) + index) * layout.PageTokens;
        var first = Math.Max(begin, pageStart);
        return new PageSlice(layout, first - pageStart, Math.Min(end - first, layout.PageTokens - (first - pageStart)));
    }

    /// <summary>Where a segment begins, in bytes from the page's start.</summary>
    public int SegmentOffset(int segment) => IsWholePage ? 0 : ((segment * Layout.PageTokens) + Slot) * Layout.HeadBytes;

    /// <summary>Copies the slice from one page to the same place of another.</summary>
    public unsafe void Copy(byte* fromPage, byte* toPage)
    {
        for (var segment = 0; segment < Segments; segment++)
        {
            var offset = SegmentOffset(segment);
            Buffer.MemoryCopy(fromPage + offset, toPage + offset, SegmentBytes, SegmentBytes);
        }
    }
}
