namespace ScriptedServe.Scripting;

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>An end token or a stop token was generated; it is the chunk's last token.</summary>
    Stop,

    /// <summary>MaxTokens or the model's context length was reached.</summary>
    Length,

    /// <summary>The request was aborted on the engine.</summary>
    Abort,
}

/// <summary>Log-probability of one generated token, and of the likeliest alternatives, best first.</summary>
/// <param name="Logprob">Natural logarithm, before temperature and filters.</param>
/// <param name="Top">Token ids and their log-probabilities; as many as were asked for.</param>
public sealed record TokenLogprob(float Logprob, IReadOnlyList<(int Token, float Logprob)> Top);

/// <summary>Token counts of one generation.</summary>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="CompletionTokens">Tokens generated.</param>
/// <param name="CachedTokens">Prompt tokens whose KV the generating engine did not compute: cached there or received.</param>
public sealed record Usage(int PromptTokens, int CompletionTokens, int CachedTokens);

/// <summary>Some tokens of a generation, in order. A router yields the chunks it gets, or fewer, larger or other ones.</summary>
public sealed record Chunk
{
    /// <summary>The generated token ids; may be empty on the last chunk.</summary>
    public required ReadOnlyMemory<int> Tokens { get; init; }

    /// <summary>One a token where the request asks for them, else empty.</summary>
    public IReadOnlyList<TokenLogprob> Logprobs { get; init; } = [];

    /// <summary>Set on the last chunk only.</summary>
    public FinishReason? FinishReason { get; init; }

    /// <summary>Set on the last chunk only.</summary>
    public Usage? Usage { get; init; }
}
