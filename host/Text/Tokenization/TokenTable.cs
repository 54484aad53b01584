namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Token ids to their contents; ids without a token have none. Immutable.</summary>
internal sealed class TokenTable
{
    private readonly string?[] contents;
    private readonly bool[] added;
    private readonly bool[] special;

    public TokenTable(IReadOnlyDictionary<string, int> vocabulary, IReadOnlyCollection<AddedToken> addedTokens)
    {
        Size = Math.Max(vocabulary.Values.DefaultIfEmpty(-1).Max(), addedTokens.Select(token => token.Id).DefaultIfEmpty(-1).Max()) + 1;
        contents = new string?[Size];
        added = new bool[Size];
        special = new bool[Size];
        foreach (var (content, id) in vocabulary)
        {
            contents[id] = content;
        }

        foreach (var token in addedTokens)
        {
            (contents[token.Id], added[token.Id], special[token.Id]) = (token.Content, true, token.Special);
        }
    }

    /// <summary>One past the largest id.</summary>
    public int Size { get; }

    public string? Content(int id) => (uint)id < (uint)Size ? contents[id] : null;

    public bool IsAdded(int id) => added[id];

    public bool IsSpecial(int id) => special[id];
}
