namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>Replaces a pattern within each token.</summary>
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
