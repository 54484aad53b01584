using System.Buffers;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A step of the chain that cuts text into the words the model sees; the model is its last step. Immutable.</summary>
internal abstract class PreTokenizer
{
    /// <param name="text">Not empty; valid only during the call.</param>
    /// <param name="atStart">Whether the text is the beginning of the whole input.</param>
    /// <param name="ids">Receives the token ids.</param>
    public abstract void Split(ReadOnlySpan<char> text, bool atStart, List<int> ids);
}

/// <summary>Cuts by a pattern: Split, Digits, Punctuation, Whitespace ... are all this.</summary>
internal sealed class PatternSplit(TextPattern pattern, SplitBehavior behavior, bool invert, PreTokenizer next) : PreTokenizer
{
    public override void Split(ReadOnlySpan<char> text, bool atStart, List<int> ids)
    {
        var joiner = new PieceJoiner(text, behavior, invert, atStart, next, ids);
        pattern.Find(text, ref joiner);
        joiner.Finish();
    }
}

/// <summary>Puts a space before text that has none, as byte-level models with add_prefix_space expect.</summary>
internal sealed class PrefixSpace(PreTokenizer next) : PreTokenizer
{
    public override void Split(ReadOnlySpan<char> text, bool atStart, List<int> ids) =>
        next.Split(text[0] == ' ' ? text : string.Concat(" ", text), atStart, ids);
}

/// <summary>Replaces bytes by their names for the steps that follow. Before the model itself it is the model that does this.</summary>
internal sealed class ByteNaming(PreTokenizer next) : PreTokenizer
{
    public override void Split(ReadOnlySpan<char> text, bool atStart, List<int> ids)
    {
        var names = new char[ByteAlphabet.Length(text)];
        ByteAlphabet.Write(text, names);
        next.Split(names, atStart, ids);
    }
}

/// <summary>When Metaspace puts its character before a text.</summary>
internal enum PrependScheme
{
    Never,
    First,
    Always,
}

/// <summary>SentencePiece's spaces: each becomes the replacement, one may be put in front.</summary>
internal sealed class Metaspace(char replacement, PrependScheme scheme, PreTokenizer next) : PreTokenizer
{
    public override void Split(ReadOnlySpan<char> text, bool atStart, List<int> ids)
    {
        var prepends = text[0] != replacement && text[0] != ' ' && (scheme == PrependScheme.Always || (scheme == PrependScheme.First && atStart));
        var buffer = ArrayPool<char>.Shared.Rent(text.Length + 1);
        var marked = buffer.AsSpan(0, text.Length + (prepends ? 1 : 0));
        marked[0] = replacement;
        text.Replace(marked[(prepends ? 1 : 0)..], ' ', replacement);
        next.Split(marked, atStart, ids);
        ArrayPool<char>.Shared.Return(buffer);
    }
}
