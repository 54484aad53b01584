namespace ScriptedServe.Engine.Sampling;

/// <summary>What penalties look back on: the tokens of prompt and output, and how often each was generated.</summary>
public sealed class TokenCounts
{
    // Token -> times generated; 0 for a token that only the prompt has.
    private readonly Dictionary<int, int> _generated = [];

    public TokenCounts(ReadOnlySpan<int> prompt, ReadOnlySpan<int> generated)
    {
        foreach (var token in prompt)
        {
            _generated.TryAdd(token, 0);
        }

        foreach (var token in generated)
        {
            AddGenerated(token);
        }
    }

    /// <summary>Every token seen, with the times it was generated.</summary>
    public IReadOnlyDictionary<int, int> Generated => _generated;

    /// <summary>As <see cref="Generated"/>, gone through without allocating.</summary>
    public Dictionary<int, int>.Enumerator GetEnumerator() => _generated.GetEnumerator();

    public void AddGenerated(int token) => _generated[token] = _generated.GetValueOrDefault(token) + 1;
}
