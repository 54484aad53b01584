using ScriptedServe.Engine.Sampling;

namespace ScriptedServe.Engine.Tests.Sampling;

/// <summary>
/// Draws follow the distribution that the parameters define, by chi-square tests over fixed seeds: a wrong distribution fails them, and chance cannot, since
/// every run draws the same.
/// </summary>
public sealed class SamplerDistributionTests
{
    private const int Draws = 40_000;

    /// <summary>Two likely tokens that tie, a middle, and a long tail; ids are not in order of likelihood.</summary>
    private static readonly float[] Logits = [0.5f, 2, -1, 2, 1, -3, 0, 1.5f, -0.5f, -2, 0.25f, -1.5f];

    public static TheoryData<string> Cases { get; } =
    [
        "plain", "cold", "hot", "top_k", "top_k at a tie", "top_p", "top_p within top_k", "min_p", "all three", "penalties", "bias", "bias against all but two", "end tokens masked",
    ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Draws_follow_the_distribution_that_the_parameters_define(string name)
    {
        var (parameters, counts, generated) = Parameters(name);
        double[] expected = Distribution(parameters, counts, generated);
        foreach (bool bySeed in new[] { false, true })
        {
            var sampler = new Sampler(Logits.Length);
            var seen = new int[Logits.Length];
            for (int draw = 0; draw < Draws; draw++)
            {
                // One request's positions, or the same position of many requests.
                var (seed, position) = bySeed ? ((ulong)draw, 17) : (99ul, draw);
                seen[sampler.Sample(Logits, parameters with { Seed = seed }, counts, generated, position).Token]++;
            }

            AssertFollows(expected, seen);
        }
    }

    [Fact]
    public void Draws_at_neighbouring_positions_and_of_neighbouring_seeds_are_independent()
    {
        var sampler = new Sampler(4);
        float[] logits = [0, 0.5f, 1, 0.2f];
        double[] single = Softmax([.. logits.Select(logit => (double)logit)]);
        double[] pairs = [.. from a in single from b in single select a * b];
        var (positions, seeds) = (new int[16], new int[16]);
        int Draw(ulong seed, int position) => sampler.Sample(logits, new SamplingParameters { Seed = seed }, null, 0, position).Token;
        for (int draw = 0; draw < Draws; draw++)
        {
            positions[(4 * Draw(5, 2 * draw)) + Draw(5, (2 * draw) + 1)]++;
            seeds[(4 * Draw((ulong)(2 * draw), 3)) + Draw((ulong)((2 * draw) + 1), 3)]++;
        }

        AssertFollows(pairs, positions);
        AssertFollows(pairs, seeds);
    }

    [Fact]
    public void A_wrong_distribution_would_be_noticed()
    {
        var random = new Random(1);
        var seen = new int[2];
        for (int draw = 0; draw < Draws; draw++)
        {
            seen[random.NextDouble() < 0.52 ? 0 : 1]++;
        }

        Assert.ThrowsAny<Exception>(() => AssertFollows([0.5, 0.5], seen));
    }

    /// <summary>The plain definition, in double precision.</summary>
    private static double[] Distribution(SamplingParameters parameters, TokenCounts? counts, int generated)
    {
        double[] scores = [.. Logits.Select((logit, token) =>
        {
            double score = logit;
            if (counts is not null && counts.Generated.TryGetValue(token, out int times))
            {
                score = score > 0 ? score / parameters.RepetitionPenalty : score * parameters.RepetitionPenalty;
                score -= times > 0 ? parameters.PresencePenalty + (parameters.FrequencyPenalty * times) : 0;
            }

            score += parameters.LogitBias.GetValueOrDefault(token);
            return generated < parameters.MinTokens && parameters.StopTokens.Contains(token) ? double.NegativeInfinity : score / parameters.Temperature;
        })];
        double[] probabilities = Softmax(scores);
        int[] order = [.. Enumerable.Range(0, Logits.Length).OrderByDescending(token => probabilities[token]).ThenBy(token => token)];
        int[] kept = order[..(parameters.TopK == 0 ? order.Length : parameters.TopK)];
        double total = kept.Sum(token => probabilities[token]), sum = 0;
        kept = [.. kept.TakeWhile(token =>
        {
            bool wanted = parameters.TopP >= 1 || sum < parameters.TopP * total;
            sum += probabilities[token];
            return wanted;
        })];
        kept = [.. kept.Where(token => probabilities[token] >= parameters.MinP * probabilities[order[0]])];
        double rest = kept.Sum(token => probabilities[token]);
        return [.. probabilities.Select((probability, token) => kept.Contains(token) ? probability / rest : 0)];
    }

    private static (SamplingParameters Parameters, TokenCounts? Counts, int Generated) Parameters(string name) => name switch
    {
        "plain" => (new SamplingParameters(), null, 0),
        "cold" => (new SamplingParameters { Temperature = 0.4f }, null, 0),
        "hot" => (new SamplingParameters { Temperature = 3 }, null, 0),
        "top_k" => (new SamplingParameters { TopK = 5 }, null, 0),
        "top_k at a tie" => (new SamplingParameters { TopK = 1 }, null, 0),
        "top_p" => (new SamplingParameters { TopP = 0.8f }, null, 0),
        "top_p within top_k" => (new SamplingParameters { TopK = 6, TopP = 0.7f }, null, 0),
        "min_p" => (new SamplingParameters { MinP = 0.3f }, null, 0),
        "all three" => (new SamplingParameters { Temperature = 1.5f, TopK = 8, TopP = 0.9f, MinP = 0.1f }, null, 0),
        "penalties" => (
            new SamplingParameters { RepetitionPenalty = 1.4f, PresencePenalty = 0.3f, FrequencyPenalty = 0.2f }, new TokenCounts([1, 2], [3, 3, 7, 5]), 4),
        "bias" => (new SamplingParameters { LogitBias = new Dictionary<int, float> { [5] = 5, [1] = -2 } }, null, 0),
        "bias against all but two" => (
            new SamplingParameters { LogitBias = Enumerable.Range(2, 10).ToDictionary(token => token, _ => -100f) }, null, 0),
        _ => (new SamplingParameters { MinTokens = 3, StopTokens = new HashSet<int> { 1, 3, 7 } }, null, 2),
    };

    private static double[] Softmax(double[] scores)
    {
        double max = scores.Max();
        double sum = scores.Sum(score => Math.Exp(score - max));
        return [.. scores.Select(score => Math.Exp(score - max) / sum)];
    }

    /// <summary>Chi-square over the cells that can be expected five times; the others must hardly occur. Refuses one in ten thousand by chance.</summary>
    private static void AssertFollows(double[] expected, int[] seen)
    {
        int draws = seen.Sum();
        var cells = Enumerable.Range(0, expected.Length).Where(cell => expected[cell] * draws >= 5).ToList();
        int rare = Enumerable.Range(0, expected.Length).Except(cells).Sum(cell => seen[cell]);
        double rareExpected = Enumerable.Range(0, expected.Length).Except(cells).Sum(cell => expected[cell]) * draws;
        Assert.True(rare <= (rareExpected == 0 ? 0 : 5 + (3 * rareExpected)), $"{rare} draws of tokens expected {rareExpected} times");
        double chiSquare = cells.Sum(cell => Math.Pow(seen[cell] - (expected[cell] * draws), 2) / (expected[cell] * draws));

        // Wilson and Hilferty's approximation of the quantile.
        int freedom = Math.Max(1, cells.Count - 1);
        double limit = freedom * Math.Pow(1 - (2.0 / (9 * freedom)) + (3.719 * Math.Sqrt(2.0 / (9 * freedom))), 3);
        Assert.True(chiSquare <= limit, $"chi-square {chiSquare} with {freedom} degrees of freedom; at most {limit}");
    }
}
