using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>All bytes as one text; what is not UTF-8 becomes U+FFFD. Added tokens are text already.</summary>
internal sealed class ByteLevelDecoder : DecoderStep
{
    public override TokenSink Open(TokenSink next) => new Sink(next);

    public override bool Describe(ref string token, bool isAdded, List<byte> bytes)
    {
        if (isAdded)
        {
            ByteAlphabet.AppendUtf8(token, bytes);
        }
        else
        {
            ByteAlphabet.AppendBytes(token, bytes);
        }

        return true;
    }

    internal sealed class Sink(TokenSink next) : TokenSink
    {
        private readonly Utf8Text text = new();

        /// <summary>The tokens so far end in the middle of a character.</summary>
        public bool HoldsBack => text.HoldsBack;

        public override void Write(ReadOnlySpan<char> part, bool isAdded)
        {
            if (isAdded)
            {
                ByteAlphabet.AppendUtf8(part, text.Pending);
            }
            else
            {
                ByteAlphabet.AppendBytes(part, text.Pending);
            }
        }

        public override void EndToken() => next.Write(text.Take(flush: false), isAdded: false);

        public override void End()
        {
            next.Write(text.Take(flush: true), isAdded: false);
            next.EndToken();
            next.End();
        }
    }
}

/// <summary>Bytes to text as they come: a character's bytes are held until it is whole, and what is not UTF-8 becomes U+FFFD.</summary>
internal sealed class Utf8Text
{
    private readonly Decoder decoder = Encoding.UTF8.GetDecoder();
    private char[] characters = new char[64];

    /// <summary>Bytes to be taken next.</summary>
    public List<byte> Pending { get; } = [];

    /// <summary>What was taken ended in the middle of a character, whose bytes are kept.</summary>
    public bool HoldsBack => decoder.GetCharCount([], flush: true) > 0;

    /// <param name="flush">No more bytes follow: a character that is not whole is given up.</param>
    /// <returns>The text that is certain; valid until the next call.</returns>
    public ReadOnlySpan<char> Take(bool flush)
    {
        var bytes = CollectionsMarshal.AsSpan(Pending);
        var needed = Encoding.UTF8.GetMaxCharCount(bytes.Length);
        if (characters.Length < needed)
        {
            characters = new char[needed];
        }

        var count = decoder.GetChars(bytes, characters, flush);
        Pending.Clear();
        return characters.AsSpan(0, count);
    }
}

/// <summary>
/// Runs of tokens such as &lt;0xE4&gt; become the text they spell, what is not UTF-8 in them U+FFFD. (Hugging Face's Rust library gives up
/// all of a run that is not UTF-8 as a whole, and so cannot stream it; its JavaScript library does as here.)
/// </summary>
internal sealed class ByteFallbackDecoder : DecoderStep
{
    public override TokenSink Open(TokenSink next) => new Sink(next);

    public override bool Describe(ref string token, bool isAdded, List<byte> bytes)
    {
        if (!TryByte(token, out var value))
        {
            return false;
        }

        bytes.Add(value);
        return true;
    }

    private static bool TryByte(ReadOnlySpan<char> token, out byte value)
    {
        value = 0;
        return token.Length == 6 && token.StartsWith("<0x") && token[5] == '>'
            && byte.TryParse(token.Slice(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    private sealed class Sink(TokenSink next) : WholeTokenSink(next)
    {
        private readonly Utf8Text run = new();
        private bool isInRun;

        public override void End()
        {
            EndRun();
            base.End();
        }

        protected override void Token(ReadOnlySpan<char> token, bool isAdded)
        {
            if (TryByte(token, out var value))
            {
                isInRun = true;
                run.Pending.Add(value);
                Next.Write(run.Take(flush: false), isAdded: false);
                return;
            }

            EndRun();
            Next.Write(token, isAdded);
            Next.EndToken();
        }

        private void EndRun()
        {
            if (isInRun)
            {
                Next.Write(run.Take(flush: true), isAdded: false);
                Next.EndToken();
                isInRun = false;
            }
        }
    }
}
