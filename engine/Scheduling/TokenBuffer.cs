namespace ScriptedServe.Engine.Scheduling;

/// <summary>A growing run of token ids that can be handed out in slices; a slice stays valid and unchanged while the buffer grows.</summary>
public sealed class TokenBuffer(ReadOnlySpan<int> tokens)
{
    private int[] _tokens = tokens.ToArray();

    public int Count { get; private set; } = tokens.Length;

    public ReadOnlySpan<int> Span => _tokens.AsSpan(0, Count);

    public ReadOnlyMemory<int> Slice(int start, int count) => _tokens.AsMemory(0, Count).Slice(start, count);

    /// <summary>Makes room for so many tokens in all, so that adding them allocates nothing.</summary>
    public void Reserve(int tokens)
    {
        if (tokens > _tokens.Length)
        {
            Array.Resize(ref _tokens, tokens);
        }
    }

    public void Add(int token)
    {
        if (Count == _tokens.Length)
        {
            Reserve(Math.Max(16, 2 * Count));
        }

        _tokens[Count++] = token;
    }
}
