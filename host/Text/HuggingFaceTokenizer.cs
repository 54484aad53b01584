using System.Text;
using System.Text.Json;
using ScriptedServe.Host.Text.Tokenization;

namespace ScriptedServe.Host.Text;

/// <summary>
/// A tokenizer.json of Hugging Face's tokenizers with a BPE model, byte-level or SentencePiece-style. Encoding runs: added tokens,
/// normalizer, added tokens marked "normalized", pre-tokenizers, BPE, post-processor. Truncation and padding in the file are not applied.
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

    private HuggingFaceTokenizer(JsonSpot root)
    {
        var model = BpeModel.Read(root["model"]);
        AddedToken[] added = root.Optional("added_tokens") is { } list ? [.. list.Items().Select(item => AddedToken.Read(item, BpeModel.MaxId))] : [];
        tokens = new TokenTable(model.Vocabulary, added);
        normalizer = root.Optional("normalizer") is { } normalizing ? Normalizer.Read(normalizing) : null;
        written = new AddedTokenMatcher(added.Where(token => !token.Normalized).Select(token => (token.Content, token)));
        normalized = new AddedTokenMatcher(added.Where(token => token.Normalized).Select(token => (normalizer?.Apply(token.Content) ?? token.Content, token)));
        PreTokenizer chain = new BpeStep(model);
        if (root.Optional("pre_tokenizer") is { } splitting)
        {
            chain = PreTokenizerReader.Read(splitting, chain);
        }
        else if (model.MayCutBefore(SentencePieceSpace))
        {
            chain = new NeutralCuts(SentencePieceSpace, chain);
        }

        preTokenizer = chain;
        postProcessor = root.Optional("post_processor") is { } processing ? PostProcessor.Read(processing) : PostProcessor.None;
        decoder = root.Optional("decoder") is { } decoding ? [.. DecoderStep.Read(decoding)] : [];
    }

    private const char SentencePieceSpace = '\u2581';

    public int VocabSize => tokens.Size;

    /// <param name="path">A tokenizer.json, or the folder that holds one.</param>
    /// <exception cref="TokenizerException">The file is missing, damaged or uses a component that is not supported.</exception>
    public static HuggingFaceTokenizer Load(string path)
    {
        var file = Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path;
        byte[] json;
        try
        {
            json = File.ReadAllBytes(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{file}: cannot be read: {error.Message}", error);
        }

        return Parse(json, file);
    }

    /// <param name="name">What to call the source in errors.</param>
    /// <exception cref="TokenizerException">As <see cref="Load"/>.</exception>
    public static HuggingFaceTokenizer Parse(ReadOnlyMemory<byte> json, string name)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return new HuggingFaceTokenizer(new JsonSpot(document.RootElement, "$", name));
        }
        catch (JsonException error)
        {
            throw new TokenizerException($"{name}: not valid JSON: {error.Message}", error);
        }
        catch (InvalidOperationException error)
        {
            // The reader's answer to strings that are no Unicode, such as half a surrogate pair.
            throw new TokenizerException($"{name}: a string in it is not valid Unicode: {error.Message}", error);
        }
    }

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
            ids.Add(match.Id);
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
            ids.Add(match.Id);
            (search, floor) = (match.Resume, match.End);
        }

        EncodeWords(section, floor, section.Length, atStart: start == 0, ids);
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
