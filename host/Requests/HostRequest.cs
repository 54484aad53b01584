using ScriptedServe.Contracts;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>The request a router is given, with what only the host sees of it: its trace and what it holds on engines.</summary>
internal sealed class HostRequest : Request
{
    private readonly RequestSpec spec;
    private volatile PrefixChain? chain;

    /// <param name="emitted">Tokens the client has been sent already; they follow the prompt in <see cref="Tokens"/>.</param>
    public HostRequest(RequestSpec spec, ReadOnlyMemory<int> emitted, RequestTrace trace, RequestScope scope)
    {
        this.spec = spec;
        Trace = trace;
        Scope = scope;
        Emitted = emitted;
        Tokens = emitted.IsEmpty ? spec.PromptTokens : (int[])[.. spec.PromptTokens.Span, .. emitted.Span];
        Headers = new Dictionary<string, string>(spec.Headers, StringComparer.OrdinalIgnoreCase);
    }

    public override string Id => spec.Id;

    public override ReadOnlyMemory<int> Tokens { get; }

    public override ReadOnlyMemory<int> Emitted { get; }

    public override Sampling Sampling => spec.Sampling;

    public override IReadOnlyDictionary<string, string> Headers { get; }

    public override DateTimeOffset? Deadline => spec.Deadline;

    public override CancellationToken Cancelled => Scope.Token;

    public int PromptTokens => spec.PromptTokens.Length;

    public RequestTrace Trace { get; }

    public RequestScope Scope { get; }

    /// <summary>Chained hashes of the whole pages of <see cref="Tokens"/>. Computed once a page size.</summary>
    public ReadOnlySpan<ulong> PrefixHashes(int pageTokens)
    {
        var known = chain;
        if (known?.PageTokens != pageTokens)
        {
            chain = known = new PrefixChain(pageTokens, Tokens.Span);
        }

        return known.Hashes;
    }

    private sealed class PrefixChain
    {
        public PrefixChain(int pageTokens, ReadOnlySpan<int> tokens)
        {
            PageTokens = pageTokens;
            Hashes = new ulong[tokens.Length / pageTokens];
            var parent = PrefixHash.Root;
            for (var page = 0; page < Hashes.Length; page++)
            {
                Hashes[page] = parent = PrefixHash.Of(parent, tokens.Slice(page * pageTokens, pageTokens));
            }
        }

        public int PageTokens { get; }

        public ulong[] Hashes { get; }
    }
}
