using System.Numerics;
using ScriptedServe.Contracts;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Synthetic;

/// <summary>
/// Computes tokens without weights: for load tests and simulations of the real scheduler, caches, reservations and transport. The KV of a token
/// is a hash of its id and of KV before it, read back from the pool, and its logits are made from that; so tokens depend on the tokens before alone,
/// and KV in a wrong page, or overwritten, changes what follows.
/// </summary>
/// <remarks>
/// A token looks, in each layer, at the one before it, at the last token of up to <see cref="MostPages"/> whole pages, and at all of one page, the
/// pages taking turns: the work is bounded however long the context, and nothing stays unread for long.
/// </remarks>
public sealed class SyntheticModelRunner : IModelRunner
{
    private const int MostPages = 64;
    private const int Granularity = 1 << 16;

    /// <summary>Words are e^16 times as likely as bytes at temperature 1, so that what comes out is readable.</summary>
    private const float ByteLogit = -20;

    private readonly SyntheticModel _model;
    private readonly StepRules _rules;
    private readonly SyntheticKv _kv;
    private readonly Action<TimeSpan>? _spend;
    private readonly float[] _words;

    /// <param name="pageTokens">Tokens of a KV page.</param>
    /// <param name="maxBatchTokens">Most tokens of one step.</param>
    /// <param name="kvType">Says how much memory KV takes; the hashes in it are as long with each.</param>
    /// <param name="spend">Lets a part of a step's time pass; null where none is to pass. See <see cref="StepTime"/>.</param>
    /// <exception cref="ArgumentException">A head of this many elements has no room for a hash.</exception>
    public SyntheticModelRunner(SyntheticModel model, int pageTokens, int maxBatchTokens, Action<TimeSpan>? spend, KvDataType kvType = KvDataType.Float32)
    {
        _model = model;
        _spend = spend;
        Model = new ModelDescription(SyntheticModel.Name, model.Vocab, model.Context, []);
        Layout = new KvLayout($"{SyntheticModel.Name}-1-{model.Vocab}", model.Layers, model.KvHeads, model.HeadDim, pageTokens, kvType);
        if (Layout.HeadBytes < SyntheticKv.HashBytes)
        {
            throw new ArgumentException($"synthetic: head-dim={model.HeadDim} is {Layout.HeadBytes} bytes with --kv-dtype {kvType.Name()}, and at least {SyntheticKv.HashBytes} are needed");
        }

        _rules = new StepRules(Model, Layout, maxBatchTokens, "--max-batch-tokens");
        _kv = new SyntheticKv(Layout);
        _words = [.. Enumerable.Range(0, model.Vocab - SyntheticModel.ByteTokens).Select(word => ((Hash.Mix((ulong)word) % Granularity) * (8f / Granularity)) - 4)];
    }

    public ModelDescription Model { get; }

    public KvLayout Layout { get; }

    /// <summary>What a step of so many tokens takes.</summary>
    public TimeSpan StepTime(int tokens) => TimeSpan.FromMicroseconds(_model.StepUs + ((long)_model.TokenUs * tokens));

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As of <see cref="CpuModelRunner.Forward"/>.</exception>
    public void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer)
    {
        _ = _rules.Check(slices, pool, logits);
        var tokens = 0;
        foreach (ref readonly var slice in slices)
        {
            tokens += slice.Count;
        }

        var layerTime = StepTime(tokens) / Layout.Layers;
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            foreach (ref readonly var slice in slices)
            {
                Compute(slice, pool, layer);
            }

            _spend?.Invoke(layerTime);
            observer?.LayerDone(layer);
        }

        foreach (ref readonly var slice in slices)
        {
            if (slice.WantsLogits)
            {
                WriteLogits(slice, pool, logits[..Model.VocabSize]);
                logits = logits[Model.VocabSize..];
            }
        }
    }

    public void Dispose()
    {
    }

    private void Compute(in StepSlice slice, KvPool pool, int layer)
    {
        var pages = slice.Pages.Span;
        var tokens = slice.Tokens.Span;
        for (var index = 0; index < tokens.Length; index++)
        {
            var position = slice.Position + index;
            var seen = Attend(pool, layer, pages, position);
            _kv.Write(pool, layer, pages, position, Hash.Mix(seen ^ ((ulong)(uint)tokens[index] << 32) ^ (uint)position));
        }
    }

    /// <summary>What the token at a position makes of those before it.</summary>
    private ulong Attend(KvPool pool, int layer, ReadOnlySpan<int> pages, int position)
    {
        var sum = Hash.Mix((ulong)layer);
        if (position == 0)
        {
            return sum;
        }

        sum += _kv.Read(pool, layer, pages, position - 1);
        var whole = position / Layout.PageTokens;
        var looks = Math.Min(whole, MostPages);
        for (var look = 0; look < looks; look++)
        {
            var page = (int)((((long)position * looks) + look) % whole);
            sum += _kv.Read(pool, layer, pages, ((page + 1) * Layout.PageTokens) - 1);
        }

        var inTurn = Turn(position, (position + Layout.PageTokens - 1) / Layout.PageTokens) * Layout.PageTokens;
        for (var other = inTurn; other < Math.Min(inTurn + Layout.PageTokens, position); other++)
        {
            sum += _kv.ReadWhole(pool, layer, pages, other);
        }

        return sum;
    }

    /// <summary>A page of those there are. As positions go on each comes up, though the pages grow in number meanwhile: they are counted to a power of two.</summary>
    private static int Turn(int position, int pages)
    {
        var round = (int)BitOperations.RoundUpToPowerOf2((uint)pages);
        var page = position & (round - 1);
        return page < pages ? page : page - (round / 2);
    }

    /// <summary>The same distribution over the words each time, turned by a hash of what the last token saw.</summary>
    private void WriteLogits(in StepSlice slice, KvPool pool, Span<float> logits)
    {
        var hash = 0UL;
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            hash = Hash.Mix(hash ^ Attend(pool, layer, slice.Pages.Span, slice.Position + slice.Count));
        }

        logits[..SyntheticModel.ByteTokens].Fill(ByteLogit);
        var turn = (int)(hash % (ulong)_words.Length);
        _words.AsSpan(turn).CopyTo(logits[SyntheticModel.ByteTokens..]);
        _words.AsSpan(0, turn).CopyTo(logits[(Model.VocabSize - turn)..]);
    }
}
