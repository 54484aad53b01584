using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.Engine.Sampling;

namespace ScriptedServe.Engine.Tests.Sampling;

public sealed class SamplerTests
{
    /// <summary>The plain definition: sort everything, cut, draw.</summary>
    private static int Naive(float[] scores, SamplingParameters parameters, int position)
    {
        if (parameters.Temperature == 0)
        {
            return Array.IndexOf(scores, scores.Max());
        }

        var max = scores.Max();
        float[] weights = [.. scores.Select(score => VectorMath.Exp(Vector256.Create((score - max) / parameters.Temperature))[0])];
        int[] order = [.. Enumerable.Range(0, scores.Length).OrderByDescending(token => scores[token]).ThenBy(token => token)];
        var kept = order.Take(parameters.TopK == 0 ? scores.Length : parameters.TopK).ToList();
        if (parameters.TopP < 1)
        {
            var total = kept.Order().Aggregate(0.0, (sum, token) => sum + weights[token]);
            var (sum, count) = (0.0, 0);
            while (count < kept.Count && sum < parameters.TopP * total)
            {
                sum += weights[kept[count++]];
            }

            kept = kept[..Math.Max(1, count)];
        }

        if (parameters.MinP > 0)
        {
            kept = [.. kept.Where((token, index) => index == 0 || weights[token] >= parameters.MinP)];
        }

        kept.Sort();
        var target = CounterRandom.Uniform(parameters.Seed, position) * kept.Aggregate(0.0, (sum, token) => sum + weights[token]);
        var walked = 0.0;
        foreach (var token in kept)
        {
            walked += weights[token];
            if (walked > target)
            {
                return token;
            }
        }

        return kept.Last(token => weights[token] > 0);
    }

    [Theory]
    [InlineData(7)]
    [InlineData(300)]
    [InlineData(5000)]
    public void Choices_are_those_of_the_plain_definition(int vocab)
    {
        var random = new Random(vocab);
        var sampler = new Sampler(vocab);
        for (var round = 0; round < 200; round++)
        {
            // Few distinct values in some rounds, so that ties matter.
            var steps = random.Next(2) == 0 ? 5 : 1 << 20;
            float[] logits = [.. Enumerable.Range(0, vocab).Select(_ => random.Next(steps) * 12f / steps)];
            var parameters = new SamplingParameters
            {
                Temperature = random.Next(8) == 0 ? 0 : 0.1f + (2 * random.NextSingle()),
                TopK = random.Next(2) == 0 ? 0 : random.Next(1, vocab + 3),
                TopP = random.Next(2) == 0 ? 1 : Math.Max(1e-4f, random.NextSingle()),
                MinP = random.Next(2) == 0 ? 0 : random.NextSingle() * 0.3f,
                Seed = (ulong)random.NextInt64(),
            };
            var position = random.Next(10_000);
            Assert.Equal(Naive(logits, parameters, position), sampler.Sample(logits, parameters, null, 0, position).Token);
        }
    }

    [Fact]
    public void A_nucleus_of_many_tokens_is_that_of_the_plain_definition()
    {
        const int Vocab = 3000;
        var random = new Random(3);
        var sampler = new Sampler(Vocab);
        for (var round = 0; round < 120; round++)
        {
            // From flat, where the nucleus is most of the vocabulary, to steep; some with many ties, and all equal, where sums become enough exactly at a token.
            var (spread, steps) = (new[] { 0f, 0.5f, 4f, 30f }[round % 4], random.Next(2) == 0 ? 7 : 1 << 20);
            float[] logits = [.. Enumerable.Range(0, Vocab).Select(_ => random.Next(steps) * spread / steps)];
            var parameters = new SamplingParameters
            {
                Temperature = 0.2f + random.NextSingle(),
                TopP = round % 3 == 0 ? new[] { 0.25f, 0.5f, 0.75f }[random.Next(3)] : Math.Max(1e-4f, random.NextSingle()),
                Seed = (ulong)random.NextInt64(),
            };
            Assert.Equal(Naive(logits, parameters, round), sampler.Sample(logits, parameters, null, 0, round).Token);
        }
    }

    [Fact]
    public void Penalties_look_back_on_prompt_and_output_as_documented()
    {
        float[] scores = [2, -2, 2, -2, 1];
        Sampler.Adjust(
            scores,
            new SamplingParameters { RepetitionPenalty = 2, PresencePenalty = 0.5f, FrequencyPenalty = 0.25f, LogitBias = new Dictionary<int, float> { [4] = 3 } },
            new TokenCounts(prompt: [0, 1], generated: [1, 2, 2]),
            generated: 3);
        Assert.Equal([1f, -4.75f, 0f, -2f, 4f], scores);
    }

    [Fact]
    public void End_tokens_cannot_be_chosen_before_min_tokens()
    {
        var sampler = new Sampler(4);
        var parameters = new SamplingParameters { Temperature = 0, MinTokens = 2, StopTokens = new HashSet<int> { 3 } };
        Assert.Equal(2, sampler.Sample([0, 1, 2, 9], parameters, null, generated: 1, position: 5).Token);
        Assert.Equal(3, sampler.Sample([0, 1, 2, 9], parameters, null, generated: 2, position: 6).Token);
    }

    [Fact]
    public void Log_probabilities_are_those_of_the_raw_logits()
    {
        float[] logits = [1, 3, 3, -2];
        var sampled = new Sampler(4).Sample(
            logits, new SamplingParameters { Temperature = 0, Logprobs = 3, LogitBias = new Dictionary<int, float> { [0] = 50 } }, null, 0, 0);
        var total = Math.Log(logits.Sum(logit => Math.Exp(logit)));
        Assert.Equal(0, sampled.Token);
        Assert.Equal(1 - total, sampled.Logprob, 1e-6);
        Assert.Equal([1, 2, 0], sampled.TopIds.ToArray());
        Assert.Equal([3 - total, 3 - total, 1 - total], sampled.TopLogprobs.ToArray().Select(logprob => (double)logprob), (a, b) => Math.Abs(a - b) < 1e-6);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void Logits_that_are_no_numbers_are_an_error(float value) =>
        Assert.Throws<NonFiniteLogitsException>(() => new Sampler(3).Sample([0, value, 1], new SamplingParameters(), null, 0, 0));

    [Fact]
    public void Ties_at_a_cut_are_kept_by_lower_id()
    {
        var sampler = new Sampler(6);
        float[] logits = [1, 3, 3, 3, 3, 0];
        Assert.Equal([1], Drawn(sampler, logits, new SamplingParameters { TopK = 1 }));
        Assert.Equal([1, 2], Drawn(sampler, logits, new SamplingParameters { TopK = 2 }));
        Assert.Equal([1, 2, 3], Drawn(sampler, logits, new SamplingParameters { TopP = 0.6f }));
        Assert.Equal([1, 2, 3, 4], Drawn(sampler, logits, new SamplingParameters { MinP = 1 }));
        Assert.Equal([1], Drawn(sampler, logits, new SamplingParameters { TopP = 1e-6f }));
        Assert.Equal([1], Drawn(sampler, logits, new SamplingParameters { Temperature = 0 }));
    }

    [Fact]
    public void A_cut_wider_than_the_vocabulary_keeps_all_of_it()
    {
        Assert.Equal([0, 1, 2], Drawn(new Sampler(3), [0, 0, 0], new SamplingParameters { TopK = 1000, TopP = 1, MinP = 0 }));
        Assert.Equal([0], Drawn(new Sampler(1), [-5], new SamplingParameters { TopK = 7, TopP = 0.1f, MinP = 0.5f }));
    }

    [Fact]
    public void Extreme_logits_and_temperatures_choose_the_likeliest_and_nothing_masked()
    {
        float[] logits = [-3.4e38f, 3.4e38f, 0, 3.3e38f];
        Assert.Equal([1], Drawn(new Sampler(4), logits, new SamplingParameters()));
        Assert.Equal([1], Drawn(new Sampler(4), logits, new SamplingParameters { Temperature = 1e-30f, TopP = 0.5f, MinP = 0.1f }));
        Assert.Equal([0, 1, 2, 3], Drawn(new Sampler(4), [0, 1, 2, 3], new SamplingParameters { Temperature = 1e30f }));
    }

    [Fact]
    public void Where_every_token_is_an_end_token_the_mask_of_end_tokens_leaves_the_choice_as_it_was()
    {
        var parameters = new SamplingParameters { MinTokens = 5, StopTokens = new HashSet<int> { 0, 1, 2 }, LogitBias = new Dictionary<int, float> { [1] = -1 } };
        Assert.Equal([0, 1, 2], Drawn(new Sampler(3), [1, 2, 0], parameters));
        Assert.Equal([0], Drawn(new Sampler(3), [2, 2, 0], parameters with { Temperature = 0 }));
    }

    private static int[] Drawn(Sampler sampler, float[] logits, SamplingParameters parameters) =>
        [.. Enumerable.Range(0, 400).Select(position => sampler.Sample(logits, parameters, null, 0, position).Token).Distinct().Order()];

    /// <summary>Known answers of Random123's philox4x32-10.</summary>
    [Fact]
    public void The_generator_is_Philox()
    {
        Assert.Equal((0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u), CounterRandom.Philox(0, (0, 0, 0, 0)));
        Assert.Equal((0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu), CounterRandom.Philox(ulong.MaxValue, (uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue)));
    }

    [Fact]
    public void Draws_follow_the_distribution()
    {
        var sampler = new Sampler(3);
        float[] logits = [MathF.Log(0.2f), MathF.Log(0.5f), MathF.Log(0.3f)];
        var counts = new int[3];
        for (var position = 0; position < 20_000; position++)
        {
            counts[sampler.Sample(logits, new SamplingParameters { Seed = 42 }, null, 0, position).Token]++;
        }

        Assert.Equal([0.2, 0.5, 0.3], counts.Select(count => count / 20_000.0), (a, b) => Math.Abs(a - b) < 0.015);
    }
}
