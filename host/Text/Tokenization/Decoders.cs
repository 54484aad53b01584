using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// Receives a stream of tokens, each as one or more parts followed by <see cref="EndToken"/>. A step that needs a whole token before
/// it can go on holds its parts back; the others pass them on as they come, which is what makes decoding incremental.
/// </summary>
internal abstract class TokenSink
{
    /// <param name="isAdded">The part is an added token, whose content is text as it stands.</param>
    public abstract void Write(ReadOnlySpan<char> part, bool isAdded);

    public abstract void EndToken();

    /// <summary>No more tokens. Not to be followed by anything.</summary>
    public abstract void End();
}

/// <summary>A step from tokens to text, as tokenizer.json names it. Immutable; <see cref="Open"/> makes the state of one stream.</summary>
internal abstract class DecoderStep
{
    private const string Supported = "Sequence, ByteLevel, ByteFallback, Replace, Fuse, Strip, Metaspace";

    public abstract TokenSink Open(TokenSink next);

    /// <summary>Rewrites one token as it appears within a text, or turns it into bytes and returns true.</summary>
    public virtual bool Describe(ref string token, bool isAdded, List<byte> bytes) => false;

    /// <summary>The steps in order, sequences unrolled.</summary>
    public static IEnumerable<DecoderStep> Read(JsonSpot spot) => spot["type"].Text() switch
    {
        "Sequence" => spot["decoders"].Items().SelectMany(Read),
        "ByteLevel" => [new ByteLevelDecoder()],
        "ByteFallback" => [new ByteFallbackDecoder()],
        "Replace" => [new ReplaceDecoder(TextPattern.Read(spot["pattern"]), spot["content"].Text())],
        "Fuse" => [new FuseDecoder()],
        "Strip" => [new StripDecoder(spot["content"].Character(), spot["start"].Count(1 << 16), spot["stop"].Count(1 << 16))],
        "Metaspace" => [new MetaspaceDecoder(spot["replacement"].Character(), PreTokenizerReader.Scheme(spot) != PrependScheme.Never)],
        var other => throw spot.Unsupported($"decoder {other}", Supported),
    };
}

/// <summary>A step that looks at one whole token at a time.</summary>
internal abstract class WholeTokenSink(TokenSink next) : TokenSink
{
    private readonly ArrayBufferWriter<char> token = new(32);
    private bool isAddedToken;

    protected TokenSink Next => next;

    public sealed override void Write(ReadOnlySpan<char> part, bool isAdded)
    {
        token.Write(part);
        isAddedToken |= isAdded;
    }

    public sealed override void EndToken()
    {
        Token(token.WrittenSpan, isAddedToken);
        token.ResetWrittenCount();
        isAddedToken = false;
    }

    public override void End() => next.End();

    protected abstract void Token(ReadOnlySpan<char> token, bool isAdded);

    protected void Emit(ReadOnlySpan<char> text, bool isAdded)
    {
        next.Write(text, isAdded);
        next.EndToken();
    }
}

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

    private sealed class Sink(TokenSink next) : TokenSink
    {
        private readonly Decoder utf8 = Encoding.UTF8.GetDecoder();
        private readonly List<byte> bytes = [];
        private char[] characters = new char[64];

        public override void Write(ReadOnlySpan<char> part, bool isAdded)
        {
            if (isAdded)
            {
                ByteAlphabet.AppendUtf8(part, bytes);
            }
            else
            {
                ByteAlphabet.AppendBytes(part, bytes);
            }
        }

        public override void EndToken() => Convert(flush: false);

        public override void End()
        {
            Convert(flush: true);
            next.EndToken();
            next.End();
        }

        private void Convert(bool flush)
        {
            var pending = CollectionsMarshal.AsSpan(bytes);
            var needed = Encoding.UTF8.GetMaxCharCount(pending.Length);
            if (characters.Length < needed)
            {
                characters = new char[needed];
            }

            var count = utf8.GetChars(pending, characters, flush);
            bytes.Clear();
            next.Write(characters.AsSpan(0, count), isAdded: false);
        }
    }
}

/// <summary>
/// Runs of tokens such as &lt;0xE4&gt; become the text they spell; if a run as a whole is not UTF-8, every byte of it becomes U+FFFD,
/// as in Hugging Face's tokenizers. A run is therefore held back until it ends.
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
        private readonly List<byte> run = [];

        public override void End()
        {
            EndRun();
            base.End();
        }

        protected override void Token(ReadOnlySpan<char> token, bool isAdded)
        {
            if (TryByte(token, out var value))
            {
                run.Add(value);
                return;
            }

            EndRun();
            Emit(token, isAdded);
        }

        private void EndRun()
        {
            if (run.Count == 0)
            {
                return;
            }

            var bytes = run.ToArray();
            run.Clear();
            if (System.Text.Unicode.Utf8.IsValid(bytes))
            {
                Emit(Encoding.UTF8.GetString(bytes), isAdded: false);
                return;
            }

            foreach (var _ in bytes)
            {
                Emit("\uFFFD", isAdded: false);
            }
        }
    }
}

internal sealed class ReplaceDecoder(TextPattern pattern, string content) : DecoderStep
{
    public override TokenSink Open(TokenSink next) => new Sink(pattern, content, next);

    public override bool Describe(ref string token, bool isAdded, List<byte> bytes)
    {
        token = pattern.Replace(token, content);
        return false;
    }

    private sealed class Sink(TextPattern pattern, string content, TokenSink next) : WholeTokenSink(next)
    {
        protected override void Token(ReadOnlySpan<char> token, bool isAdded)
        {
            var copy = new ReplacingCopy(token, content, isAdded, Next);
            pattern.Find(token, ref copy);
            copy.Finish();
            Next.EndToken();
        }
    }

    private ref struct ReplacingCopy(ReadOnlySpan<char> token, string content, bool isAdded, TokenSink next) : IMatchSink
    {
        private readonly ReadOnlySpan<char> token = token;
        private int copied;

        public void Match(int start, int end)
        {
            next.Write(token[copied..start], isAdded);
            next.Write(content, isAdded);
            copied = end;
        }

        public readonly void Finish() => next.Write(token[copied..], isAdded);
    }
}

/// <summary>SentencePiece's spaces back to spaces; the first token loses them where encoding put one in front.</summary>
internal sealed class MetaspaceDecoder(char replacement, bool dropsFirst) : DecoderStep
{
    public override TokenSink Open(TokenSink next) => new Sink(replacement, dropsFirst, next);

    public override bool Describe(ref string token, bool isAdded, List<byte> bytes)
    {
        token = token.Replace(replacement, ' ');
        return false;
    }

    private sealed class Sink(char replacement, bool dropsFirst, TokenSink next) : WholeTokenSink(next)
    {
        private bool isFirst = true;

        protected override void Token(ReadOnlySpan<char> token, bool isAdded)
        {
            foreach (var range in token.Split(replacement))
            {
                if (range.Start.Value > 0 && !(isFirst && dropsFirst))
                {
                    Next.Write(" ", isAdded);
                }

                Next.Write(token[range], isAdded);
            }

            isFirst = false;
            Next.EndToken();
        }
    }
}

/// <summary>All tokens become one, for the steps that follow.</summary>
internal sealed class FuseDecoder : DecoderStep
{
    public override TokenSink Open(TokenSink next) => new Sink(next);

    private sealed class Sink(TokenSink next) : TokenSink
    {
        public override void Write(ReadOnlySpan<char> part, bool isAdded) => next.Write(part, isAdded: false);

        public override void EndToken()
        {
        }

        public override void End()
        {
            next.EndToken();
            next.End();
        }
    }
}

/// <summary>Takes up to <paramref name="start"/> of a character off the beginning of each token, and up to <paramref name="stop"/> off its end.</summary>
internal sealed class StripDecoder(char content, int start, int stop) : DecoderStep
{
    public override TokenSink Open(TokenSink next) => new Sink(content, start, stop, next);

    private sealed class Sink(char content, int start, int stop, TokenSink next) : TokenSink
    {
        private int stripped; // of this token's beginning; start once something else has come
        private int held; // characters at the end so far that may yet be stripped, at most stop

        public override void Write(ReadOnlySpan<char> part, bool isAdded)
        {
            for (; stripped < start && part.Length > 0 && part[0] == content; stripped++)
            {
                part = part[1..];
            }

            if (part.IsEmpty)
            {
                return;
            }

            stripped = start;
            var tail = part.Length - part.TrimEnd(content).Length;
            if (tail < part.Length)
            {
                Release(held, isAdded);
                held = 0;
            }

            var kept = part.Length - tail;
            held += tail;
            next.Write(part[..kept], isAdded);
            Release(held - stop, isAdded);
            held = Math.Min(held, stop);
        }

        public override void EndToken()
        {
            (stripped, held) = (0, 0);
            next.EndToken();
        }

        public override void End() => next.End();

        private void Release(int count, bool isAdded)
        {
            for (; count > 0; count--)
            {
                next.Write([content], isAdded);
            }
        }
    }
}
