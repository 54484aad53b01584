using System.Text;
using ScriptedServe.Host.Text.Tokenization;

namespace ScriptedServe.Host.Text;

/// <summary>
/// A tokenizer.json of Hugging Face's tokenizers with a BPE model, byte-level or SentencePiece-style, or a Unigram one. Encoding runs: added
/// tokens, normalizer, added tokens marked "normalized", pre-tokenizers, model, post-processor. Truncation and padding in the file are not applied.
/// </summary>
/// <remarks>
/// Ids without a token decode to nothing (models pad their vocabularies). In byte-level vocabularies added tokens decode to their
/// content as written, also where its letters happen to name bytes.
/// </remarks>
public sealed class HuggingFaceTokenizer : ITokenizer
{
    private readonly Normalizer? normalizer;
    private readonly AddedTokenMatcher written;
    private readonly AddedTokenMatcher normalized;
    private readonly PreTokenizer preTokenizer;
    private readonly PostProcessor postProcessor;
    private readonly DecoderStep[] decoder;
    private readonly TokenTable tokens;

    private HuggingFaceTokenizer(JsonSpot root, TokenizerConfig? config, int maxIds)
    {
        var model = WordModel.Read(root["model"]);
        var added = new AddedVocabulary(model);
        foreach (var item in root.Optional("added_tokens")?.Items() ?? [])
        {
            _ = item["id"].Count(WordModel.MaxId);
            added.Add(AddedToken.Read(item));
        }

        config?.AddTokens(added, maxIds);
        tokens = new TokenTable(model, added);
        normalizer = root.Optional("normalizer") is { } normalizing ? Normalizer.Read(normalizing) : null;
        written = new AddedTokenMatcher(added.Tokens.Where(item => !item.Token.Normalized).Select(item => (item.Token.Content, item.Token, item.Id)));
        normalized = new AddedTokenMatcher(added.Tokens.Where(item => item.Token.Normalized)
            .Select(item => (normalizer?.Apply(item.Token.Content) ?? item.Token.Content, item.Token, item.Id)));
        PreTokenizer chain = new ModelStep(model);
        if (model.MayCutBefore(SentencePieceSpace))
        {
            chain = new NeutralCuts(SentencePieceSpace, chain);
        }

        preTokenizer = root.Optional("pre_tokenizer") is { } splitting ? PreTokenizerReader.Read(splitting, chain) : chain;
        postProcessor = config?.PostProcessor(added) ?? (root.Optional("post_processor") is { } processing ? PostProcessor.Read(processing) : PostProcessor.None);
        decoder = root.Optional("decoder") is { } decoding ? [.. DecoderStep.Read(decoding)] : [];
    }

    private const char SentencePieceSpace = '\u2581';

    public int VocabSize => tokens.Size;

    /// <param name="path">
    /// A model's folder, whose tokenizer.json is read and, for what they add to it, tokenizer_config.json and added_tokens.json; or a tokenizer.json alone.
    /// </param>
    /// <param name="maxIds">How many ids the model knows. Tokens for which tokenizer_config.json would go past them stay text.</param>
    /// <exception cref="TokenizerException">A file is missing, damaged or uses a component that is not supported.</exception>
    public static HuggingFaceTokenizer Load(string path, int maxIds = int.MaxValue)
    {
        if (!Directory.Exists(path))
        {
            return Parse(ReadFile(path), path);
        }

        var file = Path.Combine(path, "tokenizer.json");
        return Parse(ReadFile(file), file, TokenizerConfig.Load(path), maxIds);
    }

    /// <param name="name">What to call the source in errors.</param>
    /// <exception cref="TokenizerException">As <see cref="Load"/>.</exception>
    public static HuggingFaceTokenizer Parse(ReadOnlyMemory<byte> json, string name) => Parse(json, name, config: null, int.MaxValue);

    internal static byte[] ReadFile(string file)
    {
        try
        {
            return File.ReadAllBytes(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{file}: cannot be read: {error.Message}", error);
        }
    }

    private static HuggingFaceTokenizer Parse(ReadOnlyMemory<byte> json, string name, TokenizerConfig? config, int maxIds) =>
        JsonSpot.Parse(json, name, root => new HuggingFaceTokenizer(root, config, maxIds));

    public int[] Encode(string text, bool addSpecialTokens)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>((text.Length / 3) + 8);
        if (addSpecialTokens)
        {
            ids.AddRange(postProcessor.Before);
        }

        EncodeWritten(WellFormed(text), ids);
        if (addSpecialTokens)
        {
            ids.AddRange(postProcessor.After);
        }

        return [.. ids];
    }

    public string Decode(ReadOnlySpan<int> tokens, bool skipSpecialTokens = true)
    {
        var stream = CreateDecoder(skipSpecialTokens);
        return stream.Push(tokens) + stream.Flush();
    }

    /// <remarks>A special token is shown as it is written; an id without a token is empty. Text of a token that is part of a character holds U+FFFD.</remarks>
    public (string Text, byte[] Bytes) Describe(int token)
    {
        if (tokens.Content(token) is not { } content)
        {
            return ("", []);
        }

        var bytes = new List<byte>();
        if (!decoder.Any(step => step.Describe(ref content, tokens.IsAdded(token), bytes)))
        {
            ByteAlphabet.AppendUtf8(content, bytes);
        }

        byte[] exact = [.. bytes];
        return (Encoding.UTF8.GetString(exact), exact);
    }

    public IIncrementalDecoder CreateDecoder(bool skipSpecialTokens = true) => new TokenStream(tokens, decoder, skipSpecialTokens);

    private void EncodeWritten(string text, List<int> ids)
    {
        var (search, floor) = (0, 0);
        while (written.TryFind(text, search, floor, out var match))
        {
            EncodeSection(text, floor, match.Start, ids);
            AddMatch(match, ids);
            (search, floor) = (match.Resume, match.End);
        }

        EncodeSection(text, floor, text.Length, ids);
    }

    /// <summary>Normalizes text between two added tokens, and looks for those that are matched only then.</summary>
    private void EncodeSection(string text, int start, int end, List<int> ids)
    {
        if (start >= end)
        {
            return;
        }

        ReadOnlySpan<char> section = normalizer is null ? text.AsSpan(start, end - start) : normalizer.Apply(text[start..end]);
        var (search, floor) = (0, 0);
        while (normalized.TryFind(section, search, floor, out var match))
        {
            EncodeWords(section, floor, match.Start, atStart: start == 0, ids);
            AddMatch(match, ids);
            (search, floor) = (match.Resume, match.End);
        }

        EncodeWords(section, floor, section.Length, atStart: start == 0, ids);
    }

    private static void AddMatch(AddedTokenMatch match, List<int> ids)
    {
        if (match.Start < match.End)
        {
            ids.Add(match.Id);
        }
    }

    private void EncodeWords(ReadOnlySpan<char> section, int start, int end, bool atStart, List<int> ids)
    {
        if (start < end)
        {
            preTokenizer.Split(section[start..end], atStart && start == 0, ids);
        }
    }

    /// <summary>Half surrogate pairs become U+FFFD: they have no UTF-8.</summary>
    private static string WellFormed(string text)
    {
        var first = text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF');
        return first < 0 ? text : Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
    }
}
