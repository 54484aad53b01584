using System.Globalization;
using Google.Protobuf.Collections;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.Engine.Scheduling;

namespace ScriptedServe.Engine.Service;

/// <summary>Checks every number a caller gives before anything is done with it; errors name field, value and limit.</summary>
internal sealed class RequestValidation(EngineCore core)
{
    private const int LongestRequestId = 256;
    private const int MostTopLogprobs = 20;
    private const int MostStopTokens = 1024;
    private const int MostBiases = SamplingParameters.MostBiases;

    private readonly HashSet<int> _endTokens = [.. core.Model.EndTokenIds.Where(token => (uint)token < (uint)core.Model.VocabSize)];

    /// <exception cref="RpcException">INVALID_ARGUMENT.</exception>
    public static string RequestId(string id) => id.Length is > 0 and <= LongestRequestId
        ? id
        : throw Invalid("request_id", $"{id.Length} characters", $"1 to {LongestRequestId}");

    /// <summary>The token ids of a prompt.</summary>
    public int[] Tokens(RepeatedField<int> tokens)
    {
        if (tokens.Count == 0)
        {
            throw Invalid("token_ids", "empty", "at least one token");
        }

        if (tokens.Count > core.Model.ContextLength)
        {
            throw Invalid("token_ids", $"{tokens.Count} tokens", $"at most the context of model '{core.Model.Id}', {core.Model.ContextLength} tokens");
        }

        var ids = new int[tokens.Count];
        tokens.CopyTo(ids, 0);
        for (var index = 0; index < ids.Length; index++)
        {
            CheckToken($"token_ids[{index}]", ids[index]);
        }

        return ids;
    }

    /// <summary>A position in a prompt; negative ones count from its end.</summary>
    public static int Position(string field, int position, int length)
    {
        var resolved = position < 0 ? (long)position + length : position;
        return resolved >= 0 && resolved <= length
            ? (int)resolved
            : throw Invalid(field, position, $"-{length} to {length} for a prompt of {length} tokens");
    }

    /// <summary>Refuses KV of more tokens than the pool can ever hold.</summary>
    public void CheckFitsPool(int tokens)
    {
        if (tokens > core.PoolTokens)
        {
            throw new RpcException(
                RpcStatus.ResourceExhausted,
                $"KV of {tokens} tokens can never fit: the pool holds {core.PoolTokens} (--kv-memory)");
        }
    }

    public TimeSpan Lease(uint leaseMs)
    {
        var lease = leaseMs == 0 ? core.Limits.DefaultLease : TimeSpan.FromMilliseconds(leaseMs);
        return lease <= core.Limits.MaxLease ? lease : throw Invalid("lease_ms", leaseMs, $"at most {core.Limits.MaxLease.TotalMilliseconds}");
    }

    /// <summary>Leading tokens that are the prompt.</summary>
    public static int PromptTokens(ResumeState? resume, int length) => resume is null ? length
        : resume.PromptTokens >= 1 && resume.PromptTokens <= length ? resume.PromptTokens
        : throw Invalid("resume.prompt_tokens", resume.PromptTokens, $"1 to {length}, the number of token_ids");

    /// <summary>A prompt, or a prompt with what was generated, to which at least one token is to be added.</summary>
    public void CheckRoomToGenerate(int length)
    {
        CheckFitsPool(length);
        if (length >= core.ContextTokens)
        {
            throw core.ContextTokens < core.Model.ContextLength
                ? new RpcException(RpcStatus.ResourceExhausted, $"{length} tokens leave no room to generate: the KV pool holds {core.PoolTokens} (--kv-memory)")
                : Invalid("token_ids", $"{length} tokens", $"less than the context of model '{core.Model.Id}', {core.Model.ContextLength}, so that one can be generated");
        }
    }

    public SamplingParameters Sampling(Contracts.V1.Sampling? sampling)
    {
        sampling ??= new Contracts.V1.Sampling();
        var (vocab, maxTokens) = (core.Model.VocabSize, sampling.MaxTokens);
        if (maxTokens < 1)
        {
            throw Invalid("sampling.max_tokens", maxTokens, "at least 1");
        }

        if (sampling.StopTokenIds.Count > MostStopTokens)
        {
            throw Invalid("sampling.stop_token_ids", $"{sampling.StopTokenIds.Count} tokens", $"at most {MostStopTokens}");
        }

        if (sampling.LogitBias.Count > MostBiases)
        {
            throw Invalid("sampling.logit_bias", $"{sampling.LogitBias.Count} tokens", $"at most {MostBiases}");
        }

        foreach (var token in sampling.StopTokenIds)
        {
            CheckToken("sampling.stop_token_ids: one", token);
        }

        foreach (var (token, bias) in sampling.LogitBias)
        {
            CheckToken("sampling.logit_bias: a token", token);
            InRange($"sampling.logit_bias[{token}]", bias, -100, 100);
        }

        var stops = new HashSet<int>(sampling.StopTokenIds);
        if (!sampling.IgnoreEos)
        {
            stops.UnionWith(_endTokens);
        }

        return new SamplingParameters
        {
            Temperature = sampling.HasTemperature ? InRange("sampling.temperature", sampling.Temperature, 0, float.MaxValue) : 1,
            TopP = sampling.HasTopP ? InRange("sampling.top_p", sampling.TopP, float.Epsilon, 1) : 1,
            TopK = sampling.TopK >= 0 ? sampling.TopK : throw Invalid("sampling.top_k", sampling.TopK, "0 (all) or more"),
            MinP = InRange("sampling.min_p", sampling.MinP, 0, 1),
            PresencePenalty = InRange("sampling.presence_penalty", sampling.PresencePenalty, -2, 2),
            FrequencyPenalty = InRange("sampling.frequency_penalty", sampling.FrequencyPenalty, -2, 2),
            RepetitionPenalty = sampling.HasRepetitionPenalty ? InRange("sampling.repetition_penalty", sampling.RepetitionPenalty, float.Epsilon, float.MaxValue) : 1,
            LogitBias = new Dictionary<int, float>(sampling.LogitBias),
            Seed = sampling.Seed,
            Logprobs = !sampling.HasLogprobs ? null
                : sampling.Logprobs is >= 0 and <= MostTopLogprobs ? Math.Min(sampling.Logprobs, vocab)
                : throw Invalid("sampling.logprobs", sampling.Logprobs, $"0 to {MostTopLogprobs}"),
            MaxTokens = maxTokens,
            MinTokens = sampling.MinTokens >= 0 && sampling.MinTokens <= maxTokens
                ? sampling.MinTokens
                : throw Invalid("sampling.min_tokens", sampling.MinTokens, $"0 to max_tokens, {maxTokens}"),
            StopTokens = stops,
        };
    }

    public static RpcException Invalid(string field, object value, string limit) =>
        new(RpcStatus.InvalidArgument, string.Create(CultureInfo.InvariantCulture, $"{field} is {value}; it must be {limit}"));

    private void CheckToken(string field, int token)
    {
        if ((uint)token >= (uint)core.Model.VocabSize)
        {
            throw Invalid(field, token, $"0 to {core.Model.VocabSize - 1}, a token of model '{core.Model.Id}'");
        }
    }

    // Not a number is in no range.
    private static float InRange(string field, float value, float least, float most) => value >= least && value <= most
        ? value
        : throw Invalid(field, value, string.Create(
            CultureInfo.InvariantCulture,
            $"{(least == float.Epsilon ? "more than 0" : $"at least {least}")} and {(most == float.MaxValue ? "finite" : $"at most {most}")}"));
}
