using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute;

/// <summary>How the token after a slice is to be chosen: what <see cref="Sampler.Sample"/> takes, and whose token it is.</summary>
/// <param name="Owner">The sequence. A runner may keep for it what its earlier tokens left.</param>
/// <param name="Counts">Null if no penalty is in force.</param>
/// <param name="Generated">Tokens generated so far.</param>
/// <param name="Position">Position of the chosen token in its sequence.</param>
public readonly record struct TokenChoice(object Owner, SamplingParameters Parameters, TokenCounts? Counts, int Generated, int Position);

/// <summary>A runner that can choose tokens where it has the logits, so that these need not come to the host. Choices are those of <see cref="Sampler"/>, but for the rounding of sums.</summary>
public interface ISamplingRunner : IModelRunner
{
    /// <summary>As <see cref="IModelRunner.Forward"/>; tokens are chosen in place of logits.</summary>
    /// <param name="choices">[slices that want logits], in slice order.</param>
    void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<TokenChoice> choices, ILayerObserver? observer);

    /// <summary>What was chosen by the last step; the spans are valid until the next one.</summary>
    /// <exception cref="NonFiniteLogitsException">A logit is NaN or infinite.</exception>
    SampledToken Chosen(int choice);
}
