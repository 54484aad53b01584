using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute;

/// <summary>How the token after a slice is to be chosen: what <see cref="Sampler.Sample"/> takes, and whose token it is.</summary>
/// <param name="Owner">The sequence. A runner may keep for it what its earlier tokens left.</param>
/// <param name="Counts">Null if no penalty is in force. Of a slice whose token is still being chosen, it is without that token.</param>
/// <param name="Generated">Tokens generated so far, with one that is still being chosen.</param>
/// <param name="Position">Position of the chosen token in its sequence.</param>
public readonly record struct TokenChoice(object Owner, SamplingParameters Parameters, TokenCounts? Counts, int Generated, int Position);

/// <summary>
/// A runner that computes beside its caller, and chooses tokens where it has the logits: a step can be launched while the one before it, whose tokens it goes on with, is under way. Choices are those of
/// <see cref="Sampler"/>, but for the rounding of sums.
/// </summary>
public interface ISamplingRunner : IModelRunner
{
    /// <summary>Steps that may be under way at a time.</summary>
    const int MostUnderWay = 2;

    /// <summary>
    /// Begins a step as of <see cref="IModelRunner.Forward"/>, with tokens chosen in place of logits. Steps take place in the order in which they were launched, and so does what the pool copies; nothing that
    /// is given is needed after the call. Where this throws, the step is not under way, and nothing of it is still being computed.
    /// </summary>
    /// <param name="choices">[slices that want logits], in slice order.</param>
    void Launch(ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<TokenChoice> choices, ILayerObserver? observer);

    /// <summary>Waits for the oldest step under way, which is not under way from then on, also where this throws.</summary>
    void Collect();

    /// <summary>What was chosen by the step collected last; the spans are valid until the next launch.</summary>
    /// <exception cref="NonFiniteLogitsException">A logit is NaN or infinite.</exception>
    SampledToken Chosen(int choice);
}
