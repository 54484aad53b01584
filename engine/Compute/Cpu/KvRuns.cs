using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Keys and values of runs of tokens, of one head, as f32 <c>[tokens, headDim]</c>: where they are in their page, or in memory of the worker's own, which its next run
/// overwrites. Runs are short enough to stay in the first-level cache.
/// </summary>
/// <param name="widens">Pages hold elements of 16 bits.</param>
internal sealed unsafe class KvRuns(StepRows rows, KvLayout layout, int workers, bool widens) : IDisposable
{
    /// <summary>[workers, RunTokens, headDim].</summary>
    private readonly NativeBuffer _memory = NativeBuffer.OfFloats((long)workers * AttentionTiles.RunTokens * layout.HeadDim);

    /// <summary>Bytes from a page's start to a head's keys.</summary>
    public nint KeyOffset(int kvHead) => (nint)kvHead * layout.PageTokens * layout.HeadBytes;

    /// <summary>Bytes from a page's start to a head's values.</summary>
    public nint ValueOffset(int kvHead) => layout.PlaneBytes + KeyOffset(kvHead);

    /// <summary>Tokens from <paramref name="position"/> on that lie in one page and are computed with at a time.</summary>
    public int Length(int position, int end)
    {
        int count = Math.Min(end - position, layout.PageTokens - position % layout.PageTokens);
        return widens ? Math.Min(count, AttentionTiles.RunTokens) : count;
    }

    /// <summary>
    /// How many bytes behind the run from <paramref name="position"/> on the one from <paramref name="next"/> on lies. 0 where none is left before
    /// <paramref name="end"/>, or runs are widened first: computing with those takes longer than reading them.
    /// </summary>
    public nint Ahead(ReadOnlySpan<int> pages, nint headOffset, int position, int next, int end) => next >= end || widens
        ? 0
        : (nint)(Cached(pages[next / layout.PageTokens], headOffset, next, 0, 0) - Cached(pages[position / layout.PageTokens], headOffset, position, 0, 0)) * sizeof(float);

    /// <summary>[count, headStride] of keys or values as f32: where they are, or the worker's widened copy, which the next call overwrites.</summary>
    /// <param name="offset">Bytes from the page's start to the head's plane.</param>
    public float* Cached(int page, nint offset, int position, int count, int worker)
    {
        byte* source = rows.Pool.PagePointer(rows.Layer, page) + offset + (nint)(position % layout.PageTokens) * layout.HeadBytes;
        if (!widens)
        {
            return (float*)source;
        }

        float* widened = Memory(worker);
        KvElements.Widen(layout.DataType, source, widened, count * layout.HeadDim);
        return widened;
    }

    /// <summary>[count, headStride] of keys or values as f32, from however many pages, in the worker's copy.</summary>
    public float* Copy(ReadOnlySpan<int> pages, nint offset, int position, int count, int worker)
    {
        float* copied = Memory(worker);
        for (int done = 0; done < count;)
        {
            int run = Math.Min(count - done, layout.PageTokens - (position + done) % layout.PageTokens);
            byte* source = rows.Pool.PagePointer(rows.Layer, pages[(position + done) / layout.PageTokens]) + offset + (nint)((position + done) % layout.PageTokens) * layout.HeadBytes;
            float* target = copied + done * layout.HeadDim;
            if (widens)
            {
                KvElements.Widen(layout.DataType, source, target, run * layout.HeadDim);
            }
            else
            {
                new ReadOnlySpan<float>(source, run * layout.HeadDim).CopyTo(new Span<float>(target, run * layout.HeadDim));
            }

            done += run;
        }

        return copied;
    }

    /// <summary>[RunTokens, headDim] of a worker's own.</summary>
    public float* Memory(int worker) => _memory.Floats + (nint)worker * AttentionTiles.RunTokens * layout.HeadDim;

    public void Dispose() => _memory.Dispose();
}
