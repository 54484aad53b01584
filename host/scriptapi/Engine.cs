namespace ScriptedServe.Scripting;

/// <summary>What an engine last said of its load; at most some 100 ms old.</summary>
/// <param name="Waiting">Sequences not yet admitted.</param>
/// <param name="Running">Sequences being computed.</param>
/// <param name="PrefillTokensQueued">Prompt tokens admitted or waiting and not yet computed.</param>
/// <param name="FreePages">KV pages free now or on demand.</param>
/// <param name="TotalPages">KV pages in all.</param>
/// <param name="InFlight">This host's own calls under way on the engine, counted at once and not by the last report.</param>
public sealed record EngineLoad(int Waiting, int Running, int PrefillTokensQueued, int FreePages, int TotalPages, int InFlight);

/// <summary>What a send did.</summary>
/// <param name="SentTokens">Tokens whose KV was written.</param>
/// <param name="CachedTokens">Tokens the sender had in its prefix cache.</param>
/// <param name="ComputedTokens">Tokens it prefilled.</param>
/// <param name="Bytes">Bytes moved.</param>
public sealed record SendResult(int SentTokens, int CachedTokens, int ComputedTokens, long Bytes);

/// <summary>
/// KV pages held on an engine for tokens to come. It ends by being used in StartGenerate, by <see cref="Release"/>, or with the
/// request; nothing leaks if a router forgets it.
/// </summary>
public abstract class KvReservation
{
    /// <summary>The engine that holds the pages.</summary>
    public abstract Engine Engine { get; }

    /// <summary>Tokens whose KV is there already, from its prefix cache.</summary>
    public abstract int MatchedTokens { get; }

    /// <summary>One past the last token the reservation covers.</summary>
    public abstract int End { get; }

    /// <summary>True if nothing needs to be sent.</summary>
    public bool IsFullMatch => MatchedTokens >= End;

    /// <summary>Gives the pages back; KV that arrived whole stays as cache. Calling it twice does nothing.</summary>
    public abstract Task Release();
}

/// <summary>One engine of the fleet and the sub-request calls it takes.</summary>
/// <remarks>
/// The calls throw <see cref="EngineException"/>. Positions may be negative: they count from the request's length.
/// </remarks>
public abstract class Engine
{
    /// <summary>Names the engine in the fleet.</summary>
    public abstract string Id { get; }

    /// <summary>Names the model it serves; all engines serve the same unless the host was started with <c>--also-model</c>.</summary>
    public abstract string Model { get; }

    /// <summary>Roles and other labels, set at start or live.</summary>
    public abstract IReadOnlySet<string> Labels { get; }

    /// <summary>The last reported load.</summary>
    public abstract EngineLoad Load { get; }

    /// <summary>Leading tokens of the request whose KV this engine is believed to have cached, in whole pages. No call is made.</summary>
    /// <param name="request">The request whose tokens are compared.</param>
    public abstract int CachedTokens(Request request);

    /// <summary>Matches tokens[0..end] in this engine's prefix cache and holds pages for the rest, to be written by <see cref="RemoteSend"/>.</summary>
    /// <param name="request">The request being routed.</param>
    /// <param name="end">Exclusive; null means all of the request's tokens.</param>
    public abstract Task<KvReservation> PrepRecv(Request request, int? end = null);

    /// <summary>
    /// Has this engine obtain the KV of tokens[begin..end], from its cache or by prefill, and write it into the reservation.
    /// Returns when all of it has arrived. Makes no call if the range is empty.
    /// </summary>
    /// <param name="request">The request being routed.</param>
    /// <param name="to">Where to write.</param>
    /// <param name="begin">Null means the reservation's MatchedTokens.</param>
    /// <param name="end">Null means the reservation's End.</param>
    public abstract Task<SendResult> RemoteSend(Request request, KvReservation to, int? begin = null, int? end = null);

    /// <summary>Computes the KV that is missing here, then generates. Stopping the enumeration stops the engine.</summary>
    /// <param name="request">The request being routed.</param>
    /// <param name="kv">A reservation on this engine whose KV has arrived, or null.</param>
    /// <param name="begin">Tokens whose KV must be here; null means the reservation's End, or 0.</param>
    /// <param name="sampling">How to choose tokens; null means as the request asks. Write <c>request.Sampling with { ... }</c>.</param>
    public abstract IAsyncEnumerable<Chunk> StartGenerate(Request request, KvReservation? kv = null, int? begin = null, Sampling? sampling = null);
}

/// <summary>Why a call on an engine failed.</summary>
public enum EngineError
{
    /// <summary>The engine is gone or does not answer.</summary>
    Unavailable,

    /// <summary>No pages, or too much waiting; see <see cref="EngineException.RetryAfter"/>.</summary>
    Overloaded,

    /// <summary>The call itself was wrong: window, token, sampling.</summary>
    Invalid,

    /// <summary>A reservation ended, or its KV has not arrived.</summary>
    Precondition,

    /// <summary>The call was cancelled or its deadline passed.</summary>
    Cancelled,

    /// <summary>The engine failed.</summary>
    Internal,
}

/// <summary>A call on an engine that failed.</summary>
public sealed class EngineException : Exception
{
    /// <summary>Creates the error.</summary>
    /// <param name="engineId">The engine that was called.</param>
    /// <param name="error">What kind of failure.</param>
    /// <param name="message">What was wrong and what can be done.</param>
    /// <param name="retryAfter">When a retry may succeed.</param>
    /// <param name="inner">The cause.</param>
    public EngineException(string engineId, EngineError error, string message, TimeSpan? retryAfter = null, Exception? inner = null)
        : base(message, inner)
    {
        EngineId = engineId;
        Error = error;
        RetryAfter = retryAfter;
    }

    /// <summary>The engine that was called.</summary>
    public string EngineId { get; }

    /// <summary>What kind of failure.</summary>
    public EngineError Error { get; }

    /// <summary>When a retry may succeed, if the engine said so.</summary>
    public TimeSpan? RetryAfter { get; }
}
