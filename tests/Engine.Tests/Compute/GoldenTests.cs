using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Reference;
using ScriptedServe.KvTransport;
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

    /// <summary>What rounding keys and values costs; eight times as much with three bits fewer.</summary>
    [Theory]
    [MemberData(nameof(GoldenModels.Names), MemberType = typeof(GoldenModels))]
    public void With_KV_of_16_bits_log_probabilities_stay_near_the_expected_ones(string name)
    {
        foreach (var (kvType, tolerance) in new[] { (KvDataType.Float16, 3e-3), (KvDataType.BFloat16, 2.4e-2) })
        {
            var differences = new List<double>();
            var cases = GoldenModels.Cases(name).Cases.Where(golden => golden.Prompt.Length < 70).Take(5).ToArray();
            using var runner = CpuModelRunner.Load(GoldenModels.Folder(name), new CpuRunnerOptions { Threads = 2, MaxBatchTokens = 600, KvDataType = kvType });
            var (pool, sequences) = PagedSequence.Deal(runner.Layout, [.. cases.Select(golden => golden.Prompt)], cases.Max(golden => golden.ExpectedIds.Length), new Random(1));
            using (pool)
            {
                for (int i = 0; i < cases.Length; i++)
                {
                    for (int step = 0; step < cases[i].ExpectedIds.Length; step++)
                    {
                        PagedSequence.Step(runner, pool, [(sequences[i], sequences[i].Left, true)]);
                        var logProbabilities = LogSoftmax(sequences[i].Logits[sequences[i].Tokens.Count - 1]);
                        differences.AddRange(cases[i].Top[step].Select(top => top.LogProbability - logProbabilities[top.Id]));
                        sequences[i].Append(cases[i].ExpectedIds[step], runner.Model.ShortContext);
                    }
                }
            }

            // The median: where a choice of experts was near a tie, all after it are far off.
            double[] sizes = [.. differences.Select(Math.Abs).Order()];
            output.WriteLine($"{name}: KV in {kvType}, {sizes.Length} log-probabilities, median difference {sizes[sizes.Length / 2]:E1}, largest {sizes[^1]:E1}");
            Assert.InRange(sizes[sizes.Length / 2], 0, tolerance);
        }
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
