using System.Runtime.InteropServices;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>The last step of the chain: words become tokens, the common ones out of a cache.</summary>
/// <param name="namesBytes">The vocabulary is of bytes: spell words in <see cref="ByteAlphabet"/> first.</param>
internal sealed class ModelStep(WordModel model, bool namesBytes = false) : PreTokenizer
{
    private readonly WordCache cache = new();

    /// <summary>The same model behind a ByteLevel step.</summary>
    public ModelStep OverBytes() => new(model, namesBytes: true);

    public override void Split(ReadOnlySpan<char> text, bool atStart, List<int> ids)
    {
        if (cache.TryGet(text, out var known))
        {
            ids.AddRange(known);
            return;
        }

        var start = ids.Count;
        if (namesBytes)
        {
            EncodeBytes(text, ids);
        }
        else
        {
            model.Encode(text, ids);
        }

        cache.Put(text, CollectionsMarshal.AsSpan(ids)[start..]);
    }

    private void EncodeBytes(ReadOnlySpan<char> text, List<int> ids)
    {
        var length = ByteAlphabet.Length(text);
        var names = length <= 256 ? stackalloc char[length] : new char[length];
        ByteAlphabet.Write(text, names);
        model.Encode(names, ids);
    }
}

/// <summary>
/// Cuts text that no pre-tokenizer has cut where the model allows it without changing the result (SentencePiece models: before
/// each run of spaces), so that words can be cached and a long text is not one long word.
/// </summary>
internal sealed class NeutralCuts(char character, PreTokenizer next) : PreTokenizer
{
    public override void Split(ReadOnlySpan<char> text, bool atStart, List<int> ids)
    {
        var start = 0;
        while (start < text.Length)
        {
            var run = text[start..].IndexOfAnyExcept(character);
            var word = run < 0 ? -1 : text[(start + run)..].IndexOf(character);
            var end = word < 0 ? text.Length : start + run + word;
            next.Split(text[start..end], atStart && start == 0, ids);
            start = end;
        }
    }
}

/// <summary>Words and their tokens, the last one seen in each slot. Bounded, and safe to share without a lock: a slot is one reference.</summary>
internal sealed class WordCache
{
    private const int Slots = 1 << 15;
    private const int MaxCharacters = 48;

    private readonly Entry?[] entries = new Entry?[Slots];

    public bool TryGet(ReadOnlySpan<char> word, out ReadOnlySpan<int> ids)
    {
        if (word.Length <= MaxCharacters && entries[Slot(word)] is { } entry && word.SequenceEqual(entry.Word))
        {
            ids = entry.Ids;
            return true;
        }

        ids = default;
        return false;
    }

    public void Put(ReadOnlySpan<char> word, ReadOnlySpan<int> ids)
    {
        if (word.Length <= MaxCharacters)
        {
            entries[Slot(word)] = new Entry(word.ToString(), ids.ToArray());
        }
    }

    private static int Slot(ReadOnlySpan<char> word) => string.GetHashCode(word) & (Slots - 1);

    private sealed record Entry(string Word, int[] Ids);
}
