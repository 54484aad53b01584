using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Sampling;

/// <summary>A chosen token. The spans are the sampler's, valid until its next call.</summary>
/// <param name="logprob">Of the raw logits; 0 if log-probabilities were not asked for.</param>
/// <param name="topIds">The likeliest tokens, likeliest first; empty if not asked for.</param>
public readonly ref struct SampledToken(int token, float logprob, ReadOnlySpan<int> topIds, ReadOnlySpan<float> topLogprobs)
{
    public int Token { get; } = token;

    public float Logprob { get; } = logprob;

    public ReadOnlySpan<int> TopIds { get; } = topIds;

    public ReadOnlySpan<float> TopLogprobs { get; } = topLogprobs;
}

/// <summary>The logits of a token hold a value that is not a number, or infinite: the model or its KV is damaged.</summary>
public sealed class NonFiniteLogitsException(int token) : Exception($"The logit of token {token} is not a finite number");

/// <summary>
/// Chooses a token from logits. The choice depends on the logits, the parameters, the counts and the position alone. Equal values are ordered by
/// lower token id; sums run in f64, so that the result is that of the plain definition (sort everything, cut, draw).
/// </summary>
/// <remarks>
/// Order: repetition, presence and frequency penalties; logit_bias; mask of end tokens before min_tokens; then at temperature 0 the largest,
/// else weights exp((x - max) / temperature), of which top_k, top_p and min_p keep a part each, renormalised; one is drawn by the
/// number that (seed, position) gives, walking the kept tokens by id. Reuses its buffers: one caller at a time.
/// </remarks>
public sealed class Sampler(int vocabSize)
{
    /// <summary>Temperatures beyond these say nothing of how far apart likely tokens lie.</summary>
    private const float LeastUnit = 0.125f, MostUnit = 4;

    private readonly float[] _adjusted = new float[vocabSize];
    private readonly float[] _weights = new float[vocabSize];
    private readonly float[] _byRank = new float[vocabSize];
    private readonly int[] _kept = new int[vocabSize];
    private readonly TopSelection _selection = new(vocabSize);
    private float[] _topLogprobs = [];

    /// <param name="logits">[vocabSize]; not changed.</param>
    /// <param name="counts">Null if no penalty is in force.</param>
    /// <param name="generated">Tokens generated so far.</param>
    /// <param name="position">Position of the chosen token in its sequence.</param>
    /// <exception cref="NonFiniteLogitsException">A logit is NaN or infinite.</exception>
    public SampledToken Sample(ReadOnlySpan<float> logits, SamplingParameters parameters, TokenCounts? counts, int generated, int position)
    {
        var max = LogitMath.Max(logits, out var finite);
        if (!finite)
        {
            throw new NonFiniteLogitsException(FloatBits.IndexOfNonFinite(MemoryMarshal.Cast<float, uint>(logits), 0x7f80_0000u));
        }

        var scores = logits;
        var best = max;
        if (counts is not null || parameters.Biases.Length > 0 || generated < parameters.MinTokens)
        {
            logits.CopyTo(_adjusted);
            Adjust(_adjusted, parameters, counts, generated);
            scores = _adjusted;
            best = LogitMath.Max(scores);
        }

        var token = parameters.Temperature == 0
            ? LogitMath.IndexOf(scores, best)
            : Draw(scores, best, parameters, CounterRandom.Uniform(parameters.Seed, position));
        return parameters.Logprobs is { } top ? WithLogprobs(logits, max, token, top) : new SampledToken(token, 0, [], []);
    }

    /// <summary>Applies penalties, bias and the mask of end tokens.</summary>
    public static void Adjust(Span<float> scores, SamplingParameters parameters, TokenCounts? counts, int generated)
    {
        if (counts is not null)
        {
            foreach (var (token, times) in counts)
            {
                ref var score = ref scores[token];
                score = score > 0 ? score / parameters.RepetitionPenalty : score * parameters.RepetitionPenalty;
                score = Math.Clamp(score, float.MinValue, float.MaxValue);
                if (times > 0)
                {
                    score -= parameters.PresencePenalty + (parameters.FrequencyPenalty * times);
                }
            }
        }

        foreach (var (token, bias) in parameters.Biases)
        {
            scores[token] += bias;
        }

        // Masking all there is would leave nothing to choose; an end token does not end a generation this short in any case.
        if (generated < parameters.MinTokens && parameters.StopTokens.Count < scores.Length)
        {
            foreach (var token in parameters.Stops)
            {
                scores[token] = float.NegativeInfinity;
            }
        }
    }

    private int Draw(ReadOnlySpan<float> scores, float max, SamplingParameters parameters, double uniform)
    {
        var topK = parameters.TopK == 0 ? vocabSize : Math.Min(parameters.TopK, vocabSize);
        if (topK == vocabSize && parameters.TopP >= 1 && parameters.MinP <= 0)
        {
            LogitMath.Weights(scores, max, parameters.Temperature, _weights);
            return LogitMath.IndexOfShare(_weights, uniform);
        }

        if (topK == vocabSize && parameters.MinP <= 0 && TryDrawOfNucleus(scores, max, parameters, uniform, out var token))
        {
            return token;
        }

        var kept = Keep(scores, max, parameters, topK);
        return kept[LogitMath.IndexOfShare(WeightsOf(scores, max, parameters, kept), uniform)];
    }

    /// <summary>With top_p alone: the same choice, mostly without sorting.</summary>
    private bool TryDrawOfNucleus(ReadOnlySpan<float> scores, float max, SamplingParameters parameters, double uniform, out int token)
    {
        var total = Total(scores, max, parameters, vocabSize);
        _selection.Begin(max, Math.Clamp(parameters.Temperature, LeastUnit, MostUnit));
        var count = Nucleus.Keep(_selection, scores, _weights, parameters.TopP * total, total, _kept);
        for (var index = 0; index < count; index++)
        {
            _byRank[index] = _weights[_kept[index]];
        }

        token = count == 0 ? 0 : _kept[LogitMath.IndexOfShare(_byRank.AsSpan(0, count), uniform)];
        return count > 0;
    }

    /// <summary>The tokens that top_k, top_p and min_p keep, by id.</summary>
    private Span<int> Keep(ReadOnlySpan<float> scores, float max, SamplingParameters parameters, int topK)
    {
        _selection.Begin(max, Math.Clamp(parameters.Temperature, LeastUnit, MostUnit));
        var enough = parameters.TopP < 1 ? parameters.TopP * Total(scores, max, parameters, topK) : double.PositiveInfinity;
        var (count, sum, known) = (0, 0.0, 0);
        while (count < topK && sum < enough && (count < _selection.Count || _selection.Extend(scores)))
        {
            if (count == known)
            {
                known = _selection.Count;
                WeightsOf(scores, max, parameters, _selection.Ordered[count..]).CopyTo(_byRank.AsSpan(count));
            }

            // The likeliest has weight 1; weights fall along the selection.
            var weight = _byRank[count];
            if (count > 0 && weight < parameters.MinP)
            {
                break;
            }

            sum += weight;
            count++;
        }

        return ById(count);
    }

    /// <summary>The sum of the weights of the <paramref name="topK"/> likeliest.</summary>
    private double Total(ReadOnlySpan<float> scores, float max, SamplingParameters parameters, int topK)
    {
        if (topK == vocabSize)
        {
            LogitMath.Weights(scores, max, parameters.Temperature, _weights);
            return LogitMath.Sum(_weights);
        }

        while (_selection.Count < topK && _selection.Extend(scores))
        {
        }

        return LogitMath.Sum(WeightsOf(scores, max, parameters, ById(topK)));
    }

    /// <summary>The first <paramref name="count"/> of the selection by id.</summary>
    private Span<int> ById(int count)
    {
        var tokens = _kept.AsSpan(0, count);
        _selection.Ordered[..count].CopyTo(tokens);
        tokens.Sort();
        return tokens;
    }

    /// <summary>The weights of some tokens, in their order; the same bits as among all.</summary>
    private Span<float> WeightsOf(ReadOnlySpan<float> scores, float max, SamplingParameters parameters, ReadOnlySpan<int> tokens)
    {
        var weights = _weights.AsSpan(0, tokens.Length);
        for (var index = 0; index < tokens.Length; index++)
        {
            weights[index] = scores[tokens[index]];
        }

        LogitMath.Weights(weights, max, parameters.Temperature, weights);
        return weights;
    }

    private SampledToken WithLogprobs(ReadOnlySpan<float> logits, float max, int token, int top)
    {
        var normaliser = max + Math.Log(LogitMath.SumOfExponentials(logits, max));
        ReadOnlySpan<int> ids = _selection.Largest(logits, max, Math.Min(top, vocabSize));
        if (_topLogprobs.Length < ids.Length)
        {
            _topLogprobs = new float[ids.Length];
        }

        for (var index = 0; index < ids.Length; index++)
        {
            _topLogprobs[index] = (float)(logits[ids[index]] - normaliser);
        }

        return new SampledToken(token, (float)(logits[token] - normaliser), ids, _topLogprobs.AsSpan(0, ids.Length));
    }
}
