using System.Globalization;
using System.Text.Json;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// What a model's folder says of its tokenizer beside tokenizer.json, in tokenizer_config.json and added_tokens.json, applied in the order in
/// which Hugging Face's transformers do: added tokens by id, with their flags, then special tokens named that are not among them.
/// </summary>
/// <param name="added">By the id stated, which only orders them.</param>
/// <param name="special">Special tokens named, in the order of the file's kinds of names.</param>
/// <param name="bos">The name of the token to begin a text with, if the folder says that one is to be added; empty for none. Null: not said.</param>
/// <param name="eos">As <paramref name="bos"/>, at the end of a text.</param>
internal sealed class TokenizerConfig(IReadOnlyList<AddedToken> added, IReadOnlyList<AddedToken> special, string? bos, string? eos)
{
    private static readonly string[] SpecialNames = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

    /// <summary>The classes of transformers that replace the post-processor of tokenizer.json by what add_bos_token and add_eos_token say.</summary>
    private static readonly string[] BosClasses = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"];

    /// <returns>Null where the folder has no tokenizer_config.json.</returns>
    /// <exception cref="TokenizerException">A file cannot be read or is damaged.</exception>
    public static TokenizerConfig? Load(string folder)
    {
        var file = Path.Combine(folder, "tokenizer_config.json");
        if (!File.Exists(file))
        {
            return null;
        }

        var older = Path.Combine(folder, "added_tokens.json");
        AddedToken[] listed = File.Exists(older) ? JsonSpot.Parse(HuggingFaceTokenizer.ReadFile(older), older, ReadOlderList) : [];
        return JsonSpot.Parse(HuggingFaceTokenizer.ReadFile(file), file, root => Read(root, listed));
    }

    /// <param name="maxIds">Tokens that would get this id or a larger one are left out.</param>
    public void AddTokens(AddedVocabulary vocabulary, int maxIds)
    {
        foreach (var token in added.Select(token => special.Any(named => named.Content == token.Content) ? token with { Special = true } : token))
        {
            Add(token);
        }

        foreach (var token in special.Where(token => !vocabulary.Has(token.Content)))
        {
            Add(token);
        }

        void Add(AddedToken token)
        {
            if (vocabulary.Id(token.Content) is not null || vocabulary.NextId < maxIds)
            {
                vocabulary.Add(token);
            }
        }
    }

    /// <summary>What to put around texts instead of what tokenizer.json says; null where that stands.</summary>
    public PostProcessor? PostProcessor(AddedVocabulary vocabulary) =>
        bos is null || eos is null ? null : new PostProcessor(Named(bos, vocabulary), Named(eos, vocabulary));

    private static int[] Named(string token, AddedVocabulary vocabulary) => vocabulary.Id(token) is { } id ? [id] : [];

    private static TokenizerConfig Read(JsonSpot root, AddedToken[] listed)
    {
        var added = root.Optional("added_tokens_decoder") is { } decoder
            ? [.. Members(decoder).Select(item => (Id: Number(item), Token: AddedToken.Read(item.Spot))).OrderBy(item => item.Id).Select(item => item.Token)]
            : listed;
        var special = SpecialNames.Select(name => root.Optional(name)).Concat(
                root.Optional("additional_special_tokens")?.Items().Select(item => (JsonSpot?)item) ?? [])
            .Where(spot => spot is not null).Select(spot => Special(spot!.Value)).ToArray();
        var kind = root.Optional("tokenizer_class") is { Value.ValueKind: JsonValueKind.String } named ? named.Text() : "";
        var overrides = BosClasses.Contains(kind.EndsWith("Fast", StringComparison.Ordinal) ? kind[..^4] : kind)
            && (root.Optional("add_bos_token") ?? root.Optional("add_eos_token")) is not null;
        return new TokenizerConfig(
            added,
            special,
            overrides ? Around("bos_token", root.Flag("add_bos_token", true)) : null,
            overrides ? Around("eos_token", root.Flag("add_eos_token", false)) : null);

        string Around(string name, bool adds) => adds && root.Optional(name) is { } token ? Special(token).Content : "";
    }

    /// <summary>A string, or an object with its content and flags.</summary>
    private static AddedToken Special(JsonSpot spot) =>
        spot.Value.ValueKind == JsonValueKind.Object ? AddedToken.Read(spot) with { Special = true } : AddedToken.Named(spot.Text(), special: true);

    /// <summary>{"token": id, ...}</summary>
    private static AddedToken[] ReadOlderList(JsonSpot root) =>
        [.. Members(root).Select(item => (Id: item.Spot.Count(WordModel.MaxId), Token: AddedToken.Named(item.Name, special: false))).OrderBy(item => item.Id).Select(item => item.Token)];

    private static IEnumerable<(string Name, JsonSpot Spot)> Members(JsonSpot spot) =>
        spot.Value.ValueKind == JsonValueKind.Object
            ? spot.Value.EnumerateObject().Select(member => (member.Name, spot.Member(member)))
            : throw spot.Error("an object", spot.Found());

    private static int Number((string Name, JsonSpot Spot) item) =>
        int.TryParse(item.Name, NumberStyles.None, CultureInfo.InvariantCulture, out var id) && id <= WordModel.MaxId
            ? id
            : throw item.Spot.Error($"a token id of 0..{WordModel.MaxId} as the name", $"\"{item.Name}\"");
}
