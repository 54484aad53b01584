using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute;

/// <summary>What serving needs to know of a model, whatever computes it.</summary>
/// <param name="Id">The model folder's name; with the weights' hash it names the KV layout.</param>
/// <param name="EndTokenIds">Tokens that end a generation (generation_config.json, else config.json).</param>
public sealed record ModelDescription(string Id, int VocabSize, int ContextLength, IReadOnlyList<int> EndTokenIds)
{
    /// <summary>
    /// Sequences of more tokens have other KV than shorter ones, from their first token on; <see cref="int.MaxValue"/> for most models, which know no
    /// difference.
    /// </summary>
    public int ShortContext { get; init; } = int.MaxValue;
}

/// <summary>
/// One sequence's share of a step: <see cref="Count"/> consecutive tokens whose KV is computed now. Rows of a step are the slices'
/// tokens, slice after slice.
/// </summary>
/// <param name="Tokens">[count] token ids.</param>
/// <param name="Position">Position of the first token; KV of all positions before it is in <paramref name="Pages"/> already.</param>
/// <param name="Pages">The sequence's block table: page i holds positions [i*pageTokens, (i+1)*pageTokens). Covers position+count.</param>
/// <param name="WantsLogits">Compute the logits of the slice's last token.</param>
public readonly record struct StepSlice(ReadOnlyMemory<int> Tokens, int Position, ReadOnlyMemory<int> Pages, bool WantsLogits)
{
    public int Count => Tokens.Length;

    /// <summary>
    /// The sequence is computed as one of more tokens than <see cref="ModelDescription.ShortContext"/>, as all its KV before was; it must be where
    /// the slice wants logits of such a sequence. Without effect on models that have no such length.
    /// </summary>
    public bool LongContext { get; init; }

    /// <summary>The slice's only token is what this choice of the step launched before gives, and <see cref="Tokens"/> does not tell it; null: it does. For <see cref="ISamplingRunner"/>s alone.</summary>
    public int? Choice { get; init; }
}

/// <summary>
/// Told by a runner, on its own thread and in layer order, that the KV of all of the step's tokens is in the pool for this layer; on a device, that who loads it by
/// <see cref="KvPool.RentStaging"/> finds it there.
/// </summary>
public interface ILayerObserver
{
    void LayerDone(int layer);
}

/// <summary>
/// Computes steps of one model on one device. Not thread-safe: one caller at a time. The KV and logits of a token depend on the tokens
/// before it alone, bit for bit: not on the other slices, nor on how a prompt was cut into steps.
/// </summary>
public interface IModelRunner : IDisposable
{
    ModelDescription Model { get; }

    KvLayout Layout { get; }

    /// <summary>What <see cref="KvPool.Shards"/> of the pool must be: one for each rank that the model is divided among, as far as there are heads.</summary>
    int KvShards => 1;

    /// <summary>A new pool of zeros in the memory that this runner computes on. Dispose of it before the runner.</summary>
    /// <param name="pages">Pages a layer, at least 1.</param>
    /// <param name="epoch">Differs for each start of the engine.</param>
    KvPool CreatePool(int pages, ulong epoch) => SharedKvPool.Create(Layout, pages, epoch, shards: KvShards);

    /// <param name="slices">Non-empty; each slice has at least one token.</param>
    /// <param name="pool">Has <see cref="Layout"/> and <see cref="KvShards"/>. The pages at the slices' positions are written.</param>
    /// <param name="logits">[slices that want logits, vocabSize] f32, in slice order; written.</param>
    /// <param name="observer">Told of each finished layer, or null.</param>
    void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer);
}
