using System.Globalization;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>
/// Holds what a router yields to the contract: no more than MaxTokens tokens, each in the vocabulary, log-probabilities for all of
/// them if asked for, a finish reason once and at the end.
/// </summary>
/// <param name="router"><c>name@version</c>, for errors.</param>
/// <param name="vocabSize">0 if it is not known.</param>
/// <param name="alreadyEmitted">Tokens emitted before the request was continued.</param>
internal sealed class RouterStreamCheck(string router, int promptTokens, Sampling sampling, int vocabSize, int alreadyEmitted = 0)
{
    private int emitted = alreadyEmitted;

    public int Emitted => emitted;

    public FinishReason? Finish { get; private set; }

    /// <summary>The chunk as the client is to get it; null if it says nothing.</summary>
    /// <exception cref="RouterFailedException">It breaks the contract.</exception>
    public Chunk? Accept(Chunk? chunk)
    {
        if (chunk is null)
        {
            throw Broken("yielded null instead of a chunk");
        }

        if (Finish is { } finish)
        {
            throw Broken(Text($"yielded a chunk after the one with finish reason {finish}"));
        }

        emitted += chunk.Tokens.Length;
        if (emitted > sampling.MaxTokens)
        {
            throw Broken(Text($"yielded {emitted} tokens; the request allows {sampling.MaxTokens}"));
        }

        foreach (var token in chunk.Tokens.Span)
        {
            if (token < 0 || (vocabSize > 0 && token >= vocabSize))
            {
                throw Broken(Text($"yielded token id {token}; the vocabulary has {vocabSize}"));
            }
        }

        if (sampling.Logprobs is not null && chunk.Logprobs.Count != chunk.Tokens.Length)
        {
            throw Broken(Text($"yielded {chunk.Logprobs.Count} log-probabilities for {chunk.Tokens.Length} tokens of a request that asks for them"));
        }

        if (chunk.FinishReason is null)
        {
            return chunk.Tokens.IsEmpty ? null : chunk;
        }

        Finish = chunk.FinishReason;

        // The counts are the host's own: a router may have put the stream together from several generations.
        return chunk with { Usage = new Usage(promptTokens, emitted, chunk.Usage?.CachedTokens ?? 0) };
    }

    /// <exception cref="RouterFailedException">The stream ended before its finish reason.</exception>
    public void Ended()
    {
        if (Finish is null)
        {
            throw Broken(Text($"ended its stream after {emitted} tokens without a finish reason"));
        }
    }

    private RouterFailedException Broken(string what) => new($"Router {router} {what}.");

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
