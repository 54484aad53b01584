using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Engines;

/// <summary>
/// Chunks of one token and nothing else, one object a token: nearly all chunks are such, and nobody can change one. Grows with the ids that occur, up
/// to a limit. Thread-safe without locks: of two who make the same chunk, one's is kept.
/// </summary>
internal sealed class TokenChunks
{
    private const int FirstSize = 1024;

    /// <summary>More ids than vocabularies have; some 25 MB if every one occurred.</summary>
    private const int MostTokens = 1 << 18;

    private volatile Chunk?[] chunks = [];

    public Chunk Of(int token)
    {
        var known = chunks;
        return (uint)token < (uint)known.Length && known[token] is { } chunk ? chunk : Make(token);
    }

    private Chunk Make(int token)
    {
        var chunk = new Chunk { Tokens = new[] { token } };
        if ((uint)token >= MostTokens)
        {
            return chunk;
        }

        var known = chunks;
        if (token >= known.Length)
        {
            Array.Resize(ref known, Math.Max(FirstSize, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)token + 1)));
            chunks = known;
        }

        return known[token] = chunk;
    }
}
