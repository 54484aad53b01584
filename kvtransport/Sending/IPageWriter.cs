using ScriptedServe.KvTransport.Memory;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>One layer of tokens [begin, end).</summary>
/// <param name="Pages">Of the local pool: page i holds positions from (begin / pageTokens + i) * pageTokens on.</param>
internal readonly record struct PageRange(int Layer, ReadOnlyMemory<int> Pages, int Begin, int End);

internal static class PageRanges
{
    public static long Bytes(this ReadOnlySpan<PageRange> ranges, KvLayout layout)
    {
        var bytes = 0L;
        foreach (ref readonly var range in ranges)
        {
            bytes += PageSlice.BytesOf(layout, range.Begin, range.End);
        }

        return bytes;
    }
}

/// <summary>How a session's pages get to the receiver. One call at a time.</summary>
internal interface IPageWriter : IDisposable
{
    string Transport { get; }

    /// <summary>Most pages of a range: bounds how long a revoke waits for a copy.</summary>
    int ChunkPages { get; }

    /// <summary>A call may have several ranges, as long as all but the last are fewer bytes together; 0: it has one.</summary>
    long GatheredBytes { get; }

    /// <summary>The layer can be written now: ranges of it may go with one before. What is still being computed is to hold up nothing that is not.</summary>
    bool CanGather(int layer);

    /// <summary>Writes ranges from the local pool.</summary>
    /// <returns>Bytes written; 0 if the receiver needs no more.</returns>
    ValueTask<long> WriteAsync(ReadOnlyMemory<PageRange> ranges, CancellationToken cancellationToken);
}
