using System.Buffers;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Decodes one stream of tokens through the tokenizer's steps. Decoding at once is the same with a single push.</summary>
internal sealed class TokenStream : IIncrementalDecoder
{
    private readonly TokenTable tokens;
    private readonly bool skipsSpecial;
    private readonly TextSink text;
    private readonly TokenSink first;

    /// <summary>The only step, where that is bytes to text: each token then has a text of its own.</summary>
    private readonly ByteLevelDecoder.Sink? byteLevel;
    private bool ended;

    /// <param name="steps">None means that tokens are joined by spaces.</param>
    public TokenStream(TokenTable tokens, DecoderStep[] steps, bool skipsSpecial)
    {
        this.tokens = tokens;
        this.skipsSpecial = skipsSpecial;
        text = new TextSink(separator: steps.Length == 0 ? " " : "");
        first = steps.Reverse().Aggregate((TokenSink)text, (next, step) => step.Open(next));
        byteLevel = steps.Length == 1 ? first as ByteLevelDecoder.Sink : null;
    }

    public string Push(ReadOnlySpan<int> tokens)
    {
        ObjectDisposedException.ThrowIf(ended, this);
        if (byteLevel is { HoldsBack: false } && tokens is [var only] && TextOf(only) is { } known)
        {
            return known;
        }

        foreach (var id in tokens)
        {
            if (this.tokens.Content(id) is { } content && !(skipsSpecial && this.tokens.IsSpecial(id)))
            {
                first.Write(content, this.tokens.IsAdded(id));
                first.EndToken();
            }
        }

        return text.Drain();
    }

    private string? TextOf(int id) => tokens.Content(id) is null || (skipsSpecial && tokens.IsSpecial(id)) ? "" : tokens.ByteLevelText(id);

    public string Flush()
    {
        if (!ended)
        {
            ended = true;
            first.End();
        }

        return text.Drain();
    }

    private sealed class TextSink(string separator) : TokenSink
    {
        private readonly ArrayBufferWriter<char> written = new(32);
        private bool separates;

        public override void Write(ReadOnlySpan<char> part, bool isAdded)
        {
            if (separates)
            {
                written.Write(separator);
                separates = false;
            }

            written.Write(part);
        }

        public override void EndToken() => separates = separator.Length > 0;

        public override void End()
        {
        }

        public string Drain()
        {
            if (written.WrittenCount == 0)
            {
                return "";
            }

            var drained = written.WrittenSpan.ToString();
            written.ResetWrittenCount();
            return drained;
        }
    }
}
