namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A vocabulary, and how a word becomes tokens of it. Immutable.</summary>
internal abstract class WordModel
{
    /// <summary>Ids beyond this are taken for damage; the largest vocabularies have a few hundred thousand.</summary>
    public const int MaxId = (1 << 22) - 1;

    protected const int NoToken = -1;

    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> lookup;
    private readonly int[] byteIds = new int[256];

    /// <param name="ids">Compared by ordinal; of a token that is there twice, the id that text becomes.</param>
    protected WordModel(Dictionary<string, int> ids)
    {
        Ids = ids;
        lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        for (var value = 0; value < byteIds.Length; value++)
        {
            byteIds[value] = Ids.GetValueOrDefault(ByteAlphabet.FallbackToken((byte)value), NoToken);
        }
    }

    /// <summary>How many tokens the file lists, which is the id that the first new added token takes.</summary>
    public virtual int TokenCount => Ids.Count;

    /// <summary>Every token with its id.</summary>
    public virtual IEnumerable<(string Token, int Id)> Tokens => Ids.Select(item => (item.Key, item.Value));

    protected Dictionary<string, int> Ids { get; }

    public static WordModel Read(JsonSpot spot) => (spot.Optional("type")?.Text() ?? "BPE") switch // the oldest files say nothing
    {
        "BPE" => new BpeModel(spot),
        "Unigram" => new UnigramModel(spot),
        var other => throw spot.Unsupported($"model {other}", "BPE, Unigram"),
    };

    /// <param name="word">Not empty. For a byte-level model in the characters of <see cref="ByteAlphabet"/>.</param>
    public abstract void Encode(ReadOnlySpan<char> word, List<int> ids);

    /// <summary>
    /// Whether no token spans the place where <paramref name="character"/> follows another character, so that text may be cut there
    /// without changing its tokens.
    /// </summary>
    public virtual bool MayCutBefore(char character) => false;

    public int Id(ReadOnlySpan<char> token) => lookup.TryGetValue(token, out var id) ? id : NoToken;

    public bool Has(string token) => Ids.ContainsKey(token);

    /// <summary>Appends the tokens of the UTF-8 bytes of <paramref name="text"/>, or nothing if one of them has no token.</summary>
    protected bool TryAppendBytes(ReadOnlySpan<char> text, List<int> ids)
    {
        var start = ids.Count;
        Span<byte> utf8 = stackalloc byte[4];
        foreach (var rune in text.EnumerateRunes())
        {
            foreach (var value in utf8[..rune.EncodeToUtf8(utf8)])
            {
                if (byteIds[value] == NoToken)
                {
                    ids.RemoveRange(start, ids.Count - start);
                    return false;
                }

                ids.Add(byteIds[value]);
            }
        }

        return true;
    }
}
