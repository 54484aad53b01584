using System.Buffers;

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
}
