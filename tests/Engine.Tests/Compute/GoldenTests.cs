using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Reference;
using Xunit.Abstractions;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>The models against what Hugging Face's own code computes for them in float64.</summary>
public sealed class GoldenTests(ITestOutputHelper output)
{
    private double _largest;

    [Theory]
    [MemberData(nameof(GoldenModels.NamesAndPageSizes), MemberType = typeof(GoldenModels))]
    public void Greedy_generation_gives_the_expected_ids_and_log_probabilities(string name, int pageTokens)
    {
        var (tolerance, cases) = GoldenModels.Cases(name);
        var random = new Random(pageTokens);
        using var runner = CpuModelRunner.Load(GoldenModels.Folder(name), new CpuRunnerOptions { Threads = 2, PageTokens = pageTokens, MaxBatchTokens = 160 });
        int most = cases.Max(golden => golden.ExpectedIds.Length);
        var (pool, sequences) = PagedSequence.Deal(runner.Layout, [.. cases.Select(golden => golden.Prompt)], most, random);
        using (pool)
        {
            PagedSequence.RunAtRandom(runner, pool, sequences, 160, random);
            for (int step = 0; step < most; step++)
            {
                for (int i = 0; i < cases.Count; i++)
                {
                    var logProbabilities = LogSoftmax(sequences[i].Logits[sequences[i].Tokens.Count - 1]);
                    int best = Array.IndexOf(logProbabilities, logProbabilities.Max());
                    Assert.Equal(cases[i].ExpectedIds[step], best);
                    Compare(cases[i].LogProbabilities[step], logProbabilities[best], tolerance);
                    Assert.All(cases[i].Top[step], top => Compare(top.LogProbability, logProbabilities[top.Id], tolerance));
                    sequences[i].Append(best, runner.Model.ShortContext);
                }

                PagedSequence.Step(runner, pool, [.. sequences.Select(sequence => (sequence, sequence.Left, true))]);
            }
        }

        output.WriteLine($"{name}: {cases.Count} prompts, {cases.Sum(golden => golden.Top.Sum(top => top.Length))} log-probabilities, largest difference {_largest:E1}");
    }

    [Theory]
    [MemberData(nameof(GoldenModels.Names), MemberType = typeof(GoldenModels))]
    public void The_reference_decoder_gives_the_expected_log_probabilities(string name)
    {
        var (tolerance, cases) = GoldenModels.Cases(name);
        var reference = ReferenceDecoder.Load(GoldenModels.Folder(name));
        foreach (var golden in cases.Where(golden => golden.Prompt.Length < 70).Take(5))
        {
            int[] tokens = [.. golden.Prompt, .. golden.ExpectedIds];
            var asShort = reference.Logits(tokens);
            var asLong = reference.ShortContext < tokens.Length ? reference.Logits(tokens, longContext: true) : asShort;
            for (int i = 0; i < golden.ExpectedIds.Length; i++)
            {
                int last = golden.Prompt.Length - 1 + i;
                var logits = last + 1 > reference.ShortContext ? asLong : asShort;
                var logProbabilities = LogSoftmax([.. logits[last].Select(value => (float)value)]);
                Assert.All(golden.Top[i], top => Compare(top.LogProbability, logProbabilities[top.Id], tolerance));
            }
        }

        output.WriteLine($"{name}: reference decoder, largest difference {_largest:E1}");
    }

    private void Compare(double expected, double actual, double tolerance)
    {
        Assert.Equal(expected, actual, tolerance);
        _largest = Math.Max(_largest, Math.Abs(expected - actual));
    }

    private static double[] LogSoftmax(float[] logits)
    {
        double max = logits.Max();
        double log = max + Math.Log(logits.Sum(value => Math.Exp(value - max)));
        return [.. logits.Select(value => value - log)];
    }
}
