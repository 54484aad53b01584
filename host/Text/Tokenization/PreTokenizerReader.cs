namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Builds the chain of pre-tokenizers from the JSON, back to front.</summary>
internal static class PreTokenizerReader
{
    private const string Supported =
        "Sequence, Split, ByteLevel, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, CharDelimiterSplit";

    /// <summary>The pattern a ByteLevel step splits by unless use_regex is false (GPT-2, encoder.py).</summary>
    private const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>\w+|[^\w\s]+ with \w as Rust has it.</summary>
    private const string RustWords = @"[[:word:]\x{200C}\x{200D}]+|[^[:word:]\x{200C}\x{200D}\s]+";

    public static PreTokenizer Read(JsonSpot spot, PreTokenizer next) => spot["type"].Text() switch
    {
        "Sequence" => spot["pretokenizers"].Items().Reverse().Aggregate(next, (chain, step) => Read(step, chain)),
        "Split" => new PatternSplit(TextPattern.Read(spot["pattern"]), Behavior(spot["behavior"]), spot.Flag("invert", false), next),
        "ByteLevel" => ByteLevel(spot, next),
        "Digits" => ByRegex(@"\p{N}", spot.Flag("individual_digits", false) ? SplitBehavior.Isolated : SplitBehavior.Contiguous, next),
        "Punctuation" => new PatternSplit(new SetPattern(CharacterProperties.Punctuation), spot.Optional("behavior") is { } behavior ? Behavior(behavior) : SplitBehavior.Isolated, invert: false, next),
        "Whitespace" => new PatternSplit(new RegexPattern(RustWords), SplitBehavior.Removed, invert: true, next),
        "WhitespaceSplit" => ByRegex(@"\s", SplitBehavior.Removed, next),
        "CharDelimiterSplit" => new PatternSplit(new LiteralPattern(spot["delimiter"].Character().ToString()), SplitBehavior.Removed, invert: false, next),
        "Metaspace" => Metaspaced(spot, next),
        var other => throw spot.Unsupported($"pre-tokenizer {other}", Supported),
    };

    private static PatternSplit ByRegex(string regex, SplitBehavior behavior, PreTokenizer next) =>
        new(new RegexPattern(regex), behavior, invert: false, next);

    private static PreTokenizer ByteLevel(JsonSpot spot, PreTokenizer next)
    {
        PreTokenizer chain = next is ModelStep model ? model.OverBytes() : new ByteNaming(next);
        if (spot.Flag("use_regex", true))
        {
            chain = ByRegex(Gpt2, SplitBehavior.Isolated, chain);
        }

        return spot.Flag("add_prefix_space", true) ? new PrefixSpace(chain) : chain;
    }

    private static Metaspace Metaspaced(JsonSpot spot, PreTokenizer next)
    {
        var replacement = spot["replacement"].Character();
        var scheme = Scheme(spot);
        var splits = spot.Flag("split", true);
        return new Metaspace(replacement, scheme, splits
            ? new PatternSplit(new LiteralPattern(replacement.ToString()), SplitBehavior.MergedWithNext, invert: false, next)
            : next);
    }

    /// <summary>prepend_scheme, or the add_prefix_space of older files.</summary>
    public static PrependScheme Scheme(JsonSpot spot) => spot.Optional("prepend_scheme") is not { } scheme
        ? spot.Flag("add_prefix_space", true) ? PrependScheme.Always : PrependScheme.Never
        : scheme.Text() switch
        {
            "always" => PrependScheme.Always,
            "first" => PrependScheme.First,
            "never" => PrependScheme.Never,
            _ => throw scheme.Error("\"always\", \"first\" or \"never\"", scheme.Found()),
        };

    private static SplitBehavior Behavior(JsonSpot spot) => Enum.TryParse<SplitBehavior>(spot.Text(), out var behavior) && Enum.IsDefined(behavior)
        ? behavior
        : throw spot.Error(string.Join(", ", Enum.GetNames<SplitBehavior>()), spot.Found());
}
