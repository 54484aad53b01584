namespace ScriptedServe.Engine.Sampling;

/// <summary>A chosen token.</summary>
/// <param name="Logprob">Of the raw logits; 0 if log-probabilities were not asked for.</param>
/// <param name="TopIds">The likeliest tokens, likeliest first; empty if not asked for.</param>
public readonly record struct SampledToken(int Token, float Logprob, int[] TopIds, float[] TopLogprobs);

/// <summary>The logits of a token hold a value that is not a number, or infinite: the model or its KV is damaged.</summary>
public sealed class NonFiniteLogitsException(int token) : Exception($"The logit of token {token} is not a finite number");

/// <summary>
/// Chooses a token from logits. The choice depends on the logits, the parameters, the counts and the position alone. Equal values are ordered by
/// lower token id; sums run in f64 in token order, so that the result is that of the plain definition (sort everything, cut, draw).
/// </summary>
/// <remarks>
/// Order: repetition, presence and frequency penalties; logit_bias; mask of end tokens before min_tokens; then at temperature 0 the largest,
/// else weights exp((x - max) / temperature), of which top_k, top_p and min_p keep a part each, renormalised; one is drawn by the
/// number that (seed, position) gives, walking the kept tokens by id. Reuses its buffers: one caller at a time.
/// </remarks>
public sealed class Sampler(int vocabSize)
{
    private const int FirstNucleus = 64;

    private readonly float[] _scores = new float[vocabSize];
    private readonly float[] _weights = new float[vocabSize];
    private readonly TopSelection _selection = new(vocabSize);

    /// <param name="logits">[vocabSize]; not changed.</param>
    /// <param name="counts">Null if no penalty is in force.</param>
    /// <param name="generated">Tokens generated so far.</param>
    /// <param name="position">Position of the chosen token in its sequence.</param>
    /// <exception cref="NonFiniteLogitsException">A logit is NaN or infinite.</exception>
    public SampledToken Sample(ReadOnlySpan<float> logits, SamplingParameters parameters, TokenCounts? counts, int generated, int position)
    {
        CheckFinite(logits);
        logits.CopyTo(_scores);
        Adjust(_scores, parameters, counts, generated);
        var token = parameters.Temperature == 0 ? ArgMax(_scores) : Draw(parameters, CounterRandom.Uniform(parameters.Seed, position));
        return parameters.Logprobs is { } top ? WithLogprobs(logits, token, top) : new SampledToken(token, 0, [], []);
    }

    /// <summary>Applies penalties, bias and the mask of end tokens.</summary>
    public static void Adjust(Span<float> scores, SamplingParameters parameters, TokenCounts? counts, int generated)
    {
        if (counts is not null)
        {
            foreach (var (token, times) in counts.Generated)
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

        foreach (var (token, bias) in parameters.LogitBias)
        {
            scores[token] += bias;
        }

        // Masking all there is would leave nothing to choose; an end token does not end a generation this short in any case.
        if (generated < parameters.MinTokens && parameters.StopTokens.Count < scores.Length)
        {
            foreach (var token in parameters.StopTokens)
            {
                scores[token] = float.NegativeInfinity;
            }
        }
    }

    private int Draw(SamplingParameters parameters, double uniform)
    {
        var kept = Keep(parameters);
        if (kept.IsEmpty)
        {
            return DrawFrom(_weights, uniform);
        }

        Span<float> weights = kept.Length <= 1024 ? stackalloc float[kept.Length] : new float[kept.Length];
        for (var index = 0; index < kept.Length; index++)
        {
            weights[index] = _weights[kept[index]];
        }

        return kept[DrawFrom(weights, uniform)];
    }

    /// <summary>Fills the weights; answers the tokens that top_k, top_p and min_p keep, by id, or nothing where they keep all.</summary>
    private ReadOnlySpan<int> Keep(SamplingParameters parameters)
    {
        var max = _scores[ArgMax(_scores)];
        for (var token = 0; token < vocabSize; token++)
        {
            _weights[token] = MathF.Exp((_scores[token] - max) / parameters.Temperature);
        }

        var topK = parameters.TopK == 0 ? vocabSize : Math.Min(parameters.TopK, vocabSize);
        if (topK == vocabSize && parameters.TopP >= 1 && parameters.MinP <= 0)
        {
            return [];
        }

        var kept = parameters.TopP < 1 ? Nucleus(topK, parameters.TopP) : _selection.Largest(_scores, topK);
        if (parameters.MinP > 0)
        {
            // The likeliest has weight 1; weights fall along the selection.
            var count = 1;
            while (count < kept.Length && _weights[kept[count]] >= parameters.MinP)
            {
                count++;
            }

            kept = kept[..count];
        }

        kept.Sort();
        return kept;
    }

    /// <summary>The fewest of the <paramref name="topK"/> likeliest whose weights reach <paramref name="topP"/> of all theirs.</summary>
    private Span<int> Nucleus(int topK, float topP)
    {
        double total;
        if (topK == vocabSize)
        {
            total = Sum(_weights);
        }
        else
        {
            var byId = _selection.Largest(_scores, topK).ToArray();
            Array.Sort(byId);
            total = 0;
            foreach (var token in byId)
            {
                total += _weights[token];
            }
        }

        for (var size = Math.Min(topK, FirstNucleus); ; size = (int)Math.Min(topK, 8L * size))
        {
            var largest = _selection.Largest(_scores, size);
            var sum = 0.0;
            for (var index = 0; index < size; index++)
            {
                sum += _weights[largest[index]];
                if (sum >= topP * total)
                {
                    return largest[..(index + 1)];
                }
            }

            if (size == topK)
            {
                return largest;
            }
        }
    }

    private static int DrawFrom(ReadOnlySpan<float> weights, double uniform)
    {
        var target = uniform * Sum(weights);
        var (sum, last) = (0.0, 0);
        for (var index = 0; index < weights.Length; index++)
        {
            if (weights[index] > 0)
            {
                sum += weights[index];
                last = index;
                if (sum > target)
                {
                    return index;
                }
            }
        }

        return last;
    }

    private SampledToken WithLogprobs(ReadOnlySpan<float> logits, int token, int top)
    {
        double max = logits[ArgMax(logits)], sum = 0;
        foreach (var logit in logits)
        {
            sum += Math.Exp(logit - max);
        }

        var normaliser = max + Math.Log(sum);
        var ids = _selection.Largest(logits, Math.Min(top, vocabSize)).ToArray();
        var logprobs = new float[ids.Length];
        for (var index = 0; index < ids.Length; index++)
        {
            logprobs[index] = (float)(logits[ids[index]] - normaliser);
        }

        return new SampledToken(token, (float)(logits[token] - normaliser), ids, logprobs);
    }

    private static double Sum(ReadOnlySpan<float> values)
    {
        var sum = 0.0;
        foreach (var value in values)
        {
            sum += value;
        }

        return sum;
    }

    private static int ArgMax(ReadOnlySpan<float> values)
    {
        var best = 0;
        for (var index = 1; index < values.Length; index++)
        {
            if (values[index] > values[best])
            {
                best = index;
            }
        }

        return best;
    }

    private static void CheckFinite(ReadOnlySpan<float> logits)
    {
        for (var token = 0; token < logits.Length; token++)
        {
            if (!float.IsFinite(logits[token]))
            {
                throw new NonFiniteLogitsException(token);
            }
        }
    }
}
