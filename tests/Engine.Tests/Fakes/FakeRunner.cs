using System.Buffers.Binary;
using ScriptedServe.Engine.Compute;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>
/// A model whose logits are a hash of all tokens before, computed as a real one does: the KV of a token, in each layer, is made from the
/// KV of all tokens before it as the pool holds them. KV read from a wrong page, or overwritten, changes every token that follows.
/// </summary>
internal sealed class FakeRunner(KvLayout layout, int vocabSize = 32, int contextLength = 200, int shortContext = int.MaxValue) : IModelRunner
{
    public static KvLayout Layout4 { get; } = new("fake", Layers: 2, KvHeads: 2, HeadDim: 4, PageTokens: 4, KvDataType.Float32);

    public ModelDescription Model { get; } = new("fake", vocabSize, contextLength, [1]) { ShortContext = shortContext };

    public KvLayout Layout { get; } = layout;

    /// <summary>Called at the start of each step; may throw.</summary>
    public Action<StepSlice[]>? OnForward { get; set; }

    /// <summary>The logits of slices that end with this token are not numbers.</summary>
    public int? PoisonToken { get; set; }

    public int Steps { get; private set; }

    public int TokensComputed { get; private set; }

    public void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer)
    {
        OnForward?.Invoke(slices.ToArray());
        Steps++;
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            foreach (ref readonly var slice in slices)
            {
                TokensComputed += layer == 0 ? slice.Count : 0;
                for (var index = 0; index < slice.Count; index++)
                {
                    var position = slice.Position + index;
                    Write(pool, layer, slice.Pages.Span, position, Mix(Attend(pool, layer, slice.Pages.Span, position) ^ (slice.LongContext ? ulong.MaxValue : 0) ^ ((ulong)slice.Tokens.Span[index] << 32) ^ (ulong)position));
                }
            }

            observer?.LayerDone(layer);
        }

        var row = 0;
        foreach (ref readonly var slice in slices)
        {
            if (!slice.WantsLogits)
            {
                continue;
            }

            var hash = 0UL;
            for (var layer = 0; layer < Layout.Layers; layer++)
            {
                hash = Mix(hash ^ Attend(pool, layer, slice.Pages.Span, slice.Position + slice.Count));
            }

            for (var token = 0; token < vocabSize; token++)
            {
                logits[(row * vocabSize) + token] = slice.Tokens.Span[^1] == PoisonToken
                    ? float.NaN
                    : (float)((Mix(hash + (ulong)token) >> 40) * (8.0 / (1 << 24))) - 4;
            }

            row++;
        }
    }

    public void Dispose()
    {
    }

    private ulong Attend(KvPool pool, int layer, ReadOnlySpan<int> pages, int positions)
    {
        var sum = (ulong)layer;
        for (var position = 0; position < positions; position++)
        {
            var page = pool.Page(layer, pages[position / Layout.PageTokens]);
            for (var plane = 0; plane < 2 * Layout.KvHeads; plane++)
            {
                sum += Mix(BinaryPrimitives.ReadUInt64LittleEndian(page[Offset(plane, position)..]) + (ulong)position);
            }
        }

        return sum;
    }

    private void Write(KvPool pool, int layer, ReadOnlySpan<int> pages, int position, ulong value)
    {
        var page = pool.Page(layer, pages[position / Layout.PageTokens]);
        for (var plane = 0; plane < 2 * Layout.KvHeads; plane++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(page[Offset(plane, position)..], Mix(value + (ulong)plane));
        }
    }

    /// <summary>Keys of each head, then values of each head, as the layout says.</summary>
    private int Offset(int plane, int position) => ((plane * Layout.PageTokens) + (position % Layout.PageTokens)) * Layout.HeadBytes;

    private static ulong Mix(ulong value)
    {
        value += 0x9e3779b97f4a7c15UL;
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9UL;
        value = (value ^ (value >> 27)) * 0x94d049bb133111ebUL;
        return value ^ (value >> 31);
    }
}
