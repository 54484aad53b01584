using System.Runtime.InteropServices;
using System.Text;
using System.Text.Unicode;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Token ids to their contents; ids without a token have none. Immutable.</summary>
internal sealed class TokenTable
{
    /// <summary>Stands for "none": no other string is the same object.</summary>
    private static readonly string NotWhole = new('\0', 1);

    private readonly string?[] contents;
    private readonly bool[] added;
    private readonly bool[] special;
    private readonly string?[] byteLevelTexts;

    public TokenTable(WordModel model, AddedVocabulary addedTokens)
    {
        Size = model.Tokens.Concat(addedTokens.Tokens.Select(item => (item.Token.Content, item.Id))).Select(item => item.Item2).DefaultIfEmpty(-1).Max() + 1;
        contents = new string?[Size];
        added = new bool[Size];
        special = new bool[Size];
        byteLevelTexts = new string?[Size];
        foreach (var (content, id) in model.Tokens)
        {
            (contents[id], special[id]) = (content, addedTokens.IsSpecial(content));
        }

        foreach (var (token, id) in addedTokens.Tokens)
        {
            (contents[id], added[id], special[id]) = (token.Content, true, addedTokens.IsSpecial(token.Content));
        }
    }

    /// <summary>One past the largest id.</summary>
    public int Size { get; }

    public string? Content(int id) => (uint)id < (uint)Size ? contents[id] : null;

    public bool IsAdded(int id) => added[id];

    /// <summary>
    /// In a byte-level vocabulary: a token's text, the same string each time, if its bytes are whole characters. It is what the token decodes to wherever
    /// the tokens before it end with a whole character. Null for any other token.
    /// </summary>
    public string? ByteLevelText(int id)
    {
        var text = byteLevelTexts[id];
        if (text is null)
        {
            text = WholeText(id) ?? NotWhole;
            byteLevelTexts[id] = text;
        }

        return ReferenceEquals(text, NotWhole) ? null : text;
    }

    public bool IsSpecial(int id) => special[id];

    private string? WholeText(int id)
    {
        if (contents[id] is not { } content)
        {
            return "";
        }

        var bytes = new List<byte>();
        if (added[id])
        {
            ByteAlphabet.AppendUtf8(content, bytes);
        }
        else
        {
            ByteAlphabet.AppendBytes(content, bytes);
        }

        var utf8 = CollectionsMarshal.AsSpan(bytes);
        return Utf8.IsValid(utf8) ? Encoding.UTF8.GetString(utf8) : null;
    }
}
