namespace ScriptedServe.Contracts;

/// <summary>
/// The name of a cached page by its content: a 64-bit hash of its tokens chained on the hash of the page before it, so that
/// one number stands for a whole prefix. Engines report these and the host compares prompts with them.
/// A collision can only misguide routing; engines match tokens themselves.
/// </summary>
public static class PrefixHash
{
    /// <summary>The parent of a sequence's first page.</summary>
    public const ulong Root = 0xcbf29ce484222325;

    /// <summary>
    /// The parent of the first page of a sequence that is computed as a long one, by models for which that makes a difference. Its pages are of no use to
    /// shorter sequences that begin alike, nor theirs to it; routers do not look for them.
    /// </summary>
    public const ulong LongRoot = 0x84222325cbf29ce4;

    /// <param name="parent">Hash of the page before, or <see cref="Root"/>.</param>
    /// <param name="tokens">The tokens of exactly one whole page.</param>
    public static ulong Of(ulong parent, ReadOnlySpan<int> tokens)
    {
        var hash = parent;
        foreach (var token in tokens)
        {
            // The multiply-xorshift step of splitmix64, keyed by position through the running value.
            hash ^= (uint)token + 0x9e3779b97f4a7c15UL + (hash << 6);
            hash *= 0xbf58476d1ce4e5b9UL;
            hash ^= hash >> 29;
        }

        return hash;
    }
}
