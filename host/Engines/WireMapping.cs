using ScriptedServe.Contracts;
using ScriptedServe.Scripting;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>Between the script API's types and the wire's.</summary>
internal static class WireMapping
{
    public static Wire.Sampling ToWire(Sampling sampling)
    {
        var wire = new Wire.Sampling
        {
            Temperature = sampling.Temperature,
            TopP = sampling.TopP,
            TopK = sampling.TopK,
            MinP = sampling.MinP,
            PresencePenalty = sampling.PresencePenalty,
            FrequencyPenalty = sampling.FrequencyPenalty,
            RepetitionPenalty = sampling.RepetitionPenalty,
            Seed = sampling.Seed,
            MaxTokens = sampling.MaxTokens,
            MinTokens = sampling.MinTokens,
            IgnoreEos = sampling.IgnoreEos,
        };
        if (sampling.Logprobs is { } logprobs)
        {
            wire.Logprobs = logprobs;
        }

        wire.StopTokenIds.AddRange(sampling.StopTokenIds);
        foreach (var (token, bias) in sampling.LogitBias)
        {
            wire.LogitBias.Add(token, bias);
        }

        return wire;
    }

    public static Chunk ToChunk(Wire.GenerateChunk wire)
    {
        var tokens = new int[wire.TokenIds.Count];
        wire.TokenIds.CopyTo(tokens, 0);
        return new Chunk
        {
            Tokens = tokens,
            Logprobs = wire.Logprobs.Count == 0 ? [] : [.. wire.Logprobs.Select(ToLogprob)],
            FinishReason = ToFinish(wire.FinishReason),
            Usage = wire.Usage is { } usage ? new Usage(usage.PromptTokens, usage.CompletionTokens, usage.CachedTokens) : null,
        };
    }

    /// <summary>What kind of failure a status is to a router.</summary>
    public static EngineError ToError(RpcStatus status) => status switch
    {
        RpcStatus.Unavailable => EngineError.Unavailable,
        RpcStatus.ResourceExhausted or RpcStatus.Aborted => EngineError.Overloaded,
        RpcStatus.InvalidArgument or RpcStatus.OutOfRange => EngineError.Invalid,
        RpcStatus.NotFound or RpcStatus.AlreadyExists or RpcStatus.FailedPrecondition
            or RpcStatus.Unauthenticated or RpcStatus.PermissionDenied => EngineError.Precondition,
        RpcStatus.Cancelled or RpcStatus.DeadlineExceeded => EngineError.Cancelled,
        _ => EngineError.Internal,
    };

    /// <summary>False where the engine itself refused, and so holds nothing for the call.</summary>
    public static bool MayStillHold(RpcStatus status) => ToError(status) is EngineError.Unavailable or EngineError.Cancelled or EngineError.Internal;

    private static FinishReason? ToFinish(Wire.FinishReason reason) => reason switch
    {
        Wire.FinishReason.Unspecified => null,
        Wire.FinishReason.Stop => FinishReason.Stop,
        Wire.FinishReason.Length => FinishReason.Length,
        _ => FinishReason.Abort,
    };

    private static TokenLogprob ToLogprob(Wire.TokenLogprob wire)
    {
        var top = new (int, float)[Math.Min(wire.TopIds.Count, wire.TopLogprobs.Count)];
        for (var i = 0; i < top.Length; i++)
        {
            top[i] = (wire.TopIds[i], wire.TopLogprobs[i]);
        }

        return new TokenLogprob(wire.Logprob, top);
    }
}
