namespace ScriptedServe.Scripting;

/// <summary>One generation a client asked for, as a router sees it: token ids, never text. Each of <c>n</c> choices is a request of its own.</summary>
public abstract class Request
{
    /// <summary>Names the request in logs, traces and <c>/admin/requests/{id}</c>.</summary>
    public abstract string Id { get; }

    /// <summary>The prompt, followed by <see cref="Emitted"/> when the request is continued after an engine was lost.</summary>
    public abstract ReadOnlyMemory<int> Tokens { get; }

    /// <summary>The number of <see cref="Tokens"/>.</summary>
    public int Length => Tokens.Length;

    /// <summary>Tokens the client has been sent already; empty unless the request is continued.</summary>
    public abstract ReadOnlyMemory<int> Emitted { get; }

    /// <summary>How tokens are chosen and when generation ends.</summary>
    public abstract Sampling Sampling { get; }

    /// <summary>The HTTP request's headers; names compare without case. Credentials are left out.</summary>
    public abstract IReadOnlyDictionary<string, string> Headers { get; }

    /// <summary>When the request must have ended, or null.</summary>
    public abstract DateTimeOffset? Deadline { get; }

    /// <summary>Set when the client left, the deadline passed or the host stops. Calls on engines observe it by themselves.</summary>
    public abstract CancellationToken Cancelled { get; }
}

/// <summary>Sampling parameters of a request, as the client set them or by default.</summary>
public sealed record Sampling
{
    /// <summary>0 is greedy.</summary>
    public float Temperature { get; init; } = 1;

    /// <summary>Nucleus: (0, 1].</summary>
    public float TopP { get; init; } = 1;

    /// <summary>0 means all.</summary>
    public int TopK { get; init; }

    /// <summary>[0, 1], relative to the likeliest token.</summary>
    public float MinP { get; init; }

    /// <summary>[-2, 2], over generated tokens.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>[-2, 2], over generated tokens.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Above 0, over prompt and generated tokens; 1 is none.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Token id to a bias in [-100, 100].</summary>
    public IReadOnlyDictionary<int, float> LogitBias { get; init; } = new Dictionary<int, float>();

    /// <summary>Same seed and tokens: same output, whichever engines served it.</summary>
    public ulong Seed { get; init; }

    /// <summary>Null: no log-probabilities. n: the chosen token's and the n likeliest tokens'.</summary>
    public int? Logprobs { get; init; }

    /// <summary>Most tokens to generate, at least 1.</summary>
    public int MaxTokens { get; init; } = 16;

    /// <summary>Tokens to generate before an end token counts.</summary>
    public int MinTokens { get; init; }

    /// <summary>Tokens that end the generation besides the model's own.</summary>
    public IReadOnlyList<int> StopTokenIds { get; init; } = [];

    /// <summary>Generate on past the model's end tokens.</summary>
    public bool IgnoreEos { get; init; }
}
