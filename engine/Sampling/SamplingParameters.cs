namespace ScriptedServe.Engine.Sampling;

/// <summary>How tokens are chosen and when generation ends; validated, with every default filled in.</summary>
public sealed record SamplingParameters
{
    /// <summary>Most tokens of <see cref="LogitBias"/>, and of <see cref="StopTokens"/> with the model's own.</summary>
    public const int MostBiases = 4096, MostStops = 1280;

    /// <summary>0 is greedy.</summary>
    public float Temperature { get; init; } = 1;

    public float TopP { get; init; } = 1;

    /// <summary>0 means all.</summary>
    public int TopK { get; init; }

    public float MinP { get; init; }

    public float PresencePenalty { get; init; }

    public float FrequencyPenalty { get; init; }

    public float RepetitionPenalty { get; init; } = 1;

    public IReadOnlyDictionary<int, float> LogitBias
    {
        get;
        init => (field, Biases) = (value, [.. value]);
    }
    = new Dictionary<int, float>();

    public ulong Seed { get; init; }

    /// <summary>Null: no log-probabilities. n: the chosen token's and the n likeliest.</summary>
    public int? Logprobs { get; init; }

    /// <summary>Counted over all generated tokens, those before a resume included.</summary>
    public int MaxTokens { get; init; } = int.MaxValue;

    public int MinTokens { get; init; }

    /// <summary>The model's end tokens (unless ignored) and the request's stop tokens.</summary>
    public IReadOnlySet<int> StopTokens
    {
        get;
        init => (field, Stops) = (value, [.. value]);
    }
    = new HashSet<int>();

    /// <summary><see cref="LogitBias"/> in a form that is gone through without allocating.</summary>
    internal KeyValuePair<int, float>[] Biases { get; private init; } = [];

    /// <summary><see cref="StopTokens"/> in such a form.</summary>
    internal int[] Stops { get; private init; } = [];
}
