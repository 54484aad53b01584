namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A token matched in the text before all else. Flags as in tokenizer.json.</summary>
internal sealed record AddedToken(string Content, bool Special, bool LeftStrip = false, bool RightStrip = false, bool SingleWord = false, bool Normalized = false)
{
    /// <param name="spot">An object with the content and flags; more fields are no matter.</param>
    public static AddedToken Read(JsonSpot spot) => new(
        spot["content"].Text(),
        spot.Flag("special", false),
        spot.Flag("lstrip", false),
        spot.Flag("rstrip", false),
        spot.Flag("single_word", false),
        spot.Flag("normalized", !spot.Flag("special", false)));

    /// <summary>A token that a file names by its content alone.</summary>
    public static AddedToken Named(string content, bool special) => new(content, special, Normalized: !special);
}

/// <summary>
/// The tokens added to a model's vocabulary, numbered as Hugging Face's tokenizers number them: one that the vocabulary has keeps its id, a
/// new one takes the next after the vocabulary. Ids written beside added tokens are not looked at.
/// </summary>
internal sealed class AddedVocabulary(WordModel model)
{
    private readonly Dictionary<string, int> ids = new(StringComparer.Ordinal);
    private readonly SortedDictionary<int, AddedToken> tokens = [];
    private readonly HashSet<string> special = new(StringComparer.Ordinal);

    /// <summary>The id of the next token that the vocabulary does not have.</summary>
    public int NextId { get; private set; } = model.TokenCount;

    public IEnumerable<(AddedToken Token, int Id)> Tokens => tokens.Select(item => (item.Value, item.Key));

    public bool Has(string content) => ids.ContainsKey(content);

    /// <summary>Once special always special, whatever flags come later.</summary>
    public bool IsSpecial(string content) => special.Contains(content);

    public int? Id(string content) => ids.TryGetValue(content, out var id) ? id : model.Has(content) ? model.Id(content) : null;

    /// <summary>Adds the token, or gives one of the same content new flags.</summary>
    public void Add(AddedToken token)
    {
        if (token.Content.Length == 0)
        {
            return;
        }

        var id = Id(token.Content) ?? NextId++;
        (ids[token.Content], tokens[id]) = (id, token);
        if (token.Special)
        {
            special.Add(token.Content);
        }
    }
}
