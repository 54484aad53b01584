using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Reference;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>Whole models of odd shapes, with every option of the configuration, against the naive decoder.</summary>
public sealed class RandomShapeTests
{
    [Theory]
    [MemberData(nameof(RandomConfigs.Architectures), MemberType = typeof(RandomConfigs))]
    public void Models_of_any_shape_agree_with_the_reference_decoder(string architecture)
    {
        for (int seed = 0; seed < 6; seed++)
        {
            var random = new Random(seed);
            using var folder = RandomConfigs.Folder(architecture, new[] { "F32", "F16", "BF16" }[seed % 3], random);
            var options = new CpuRunnerOptions { Threads = 1 + seed % 3, PageTokens = random.Next(1, 9), MaxBatchTokens = 40 };
            using var runner = CpuModelRunner.Load(folder.Path, options);
            var reference = ReferenceDecoder.Load(folder.Path);
            int[][] prompts = [.. Enumerable.Range(0, 3).Select(_ => RandomPrompt(random, runner.Model.VocabSize))];
            var (pool, sequences) = PagedSequence.Deal(runner.Layout, prompts, 0, random);
            using (pool)
            {
                PagedSequence.RunAtRandom(runner, pool, sequences, options.MaxBatchTokens, random);
                foreach (var sequence in sequences)
                {
                    var expected = reference.Logits(sequence.Tokens, longContext: sequence.Tokens.Count > runner.Model.ShortContext);
                    foreach (var (position, logits) in sequence.Logits)
                    {
                        double scale = expected[position].Max(Math.Abs);
                        Assert.All(logits, (logit, token) => Assert.True(
                            Math.Abs(logit - expected[position][token]) <= 5e-5 * scale,
                            $"seed {seed}, position {position}, token {token}: {logit} against {expected[position][token]} in {File.ReadAllText(folder.File("config.json"))}"));
                    }
                }
            }
        }
    }

    private static int[] RandomPrompt(Random random, int vocab) => [.. Enumerable.Range(0, random.Next(1, 45)).Select(_ => random.Next(vocab))];
}
