using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>Tokens chosen by the real sampling kernels in the emulation, against the CPU's sampler.</summary>
public sealed class CudaSamplerTests
{
    private const int Vocab = 301;

    [RequiresFact(Need.CppCompiler)]
    public async Task Sequences_come_and_go_and_each_gets_the_tokens_that_the_CPU_chooses()
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        var random = new Random(4);
        var oracle = new Sampler(Vocab);
        using (var sampler = new CudaSampler(gpu, Vocab, rows: 8))
        {
            Drawn[] sequences = [.. Enumerable.Range(0, 5).Select(i => new Drawn(random, i))];
            for (int step = 0; step < 8; step++)
            {
                // Some sit a step out, so that their seats are given away, and the counts of others do not stay theirs.
                Drawn[] batch = [.. sequences.Where(_ => random.Next(4) > 0)];
                float[] logits = [.. Enumerable.Range(0, batch.Length * Vocab).Select(_ => (float)(random.NextDouble() * 12 - 6))];
                TokenChoice[] choices = [.. batch.Select(sequence => new TokenChoice(sequence, sequence.Parameters, sequence.Counts, sequence.Generated, sequence.Position))];
                Choose(gpu, sampler, logits, choices, step % 2, padding: step % 3);
                for (int i = 0; i < batch.Length; i++)
                {
                    var sequence = batch[i];
                    var expected = oracle.Sample(logits.AsSpan(i * Vocab, Vocab), sequence.Parameters, sequence.Counts, sequence.Generated, sequence.Position);
                    var actual = sampler.Chosen(i, step % 2);
                    Assert.Equal(expected.Token, actual.Token);
                    Assert.Equal(expected.Logprob, actual.Logprob, 1e-4);
                    Assert.Equal(expected.TopIds, actual.TopIds);
                    for (int top = 0; top < expected.TopIds.Length; top++)
                    {
                        Assert.Equal(expected.TopLogprobs[top], actual.TopLogprobs[top], 1e-4);
                    }

                    sequence.Append(actual.Token);
                }
            }
        }

        Assert.Equal(0, gpu.Live);
    }

    [RequiresFact(Need.CppCompiler)]
    public async Task Damaged_logits_are_told_by_the_token_and_only_to_their_sequence()
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        using var sampler = new CudaSampler(gpu, Vocab, rows: 8);
        var logits = new float[2 * Vocab];
        (logits[17], logits[Vocab + 5]) = (float.NaN, 3);
        var greedy = new SamplingParameters { Temperature = 0 };
        Choose(gpu, sampler, logits, [new TokenChoice(new object(), greedy, null, 0, 1), new TokenChoice(new object(), greedy, null, 0, 1)], area: 0, padding: 0);
        Assert.Contains("17", Assert.Throws<NonFiniteLogitsException>(() => sampler.Chosen(0, 0).Token).Message, StringComparison.Ordinal);
        Assert.Equal(5, sampler.Chosen(1, 0).Token);
    }

    private static unsafe void Choose(EmulatedGpu gpu, CudaSampler sampler, float[] logits, TokenChoice[] choices, int area, int padding)
    {
        int rows = choices.Length + padding;
        using var device = gpu.Allocate(Math.Max(1, rows) * Vocab * sizeof(float));
        float[] padded = [.. logits, .. new float[padding * Vocab]];
        fixed (float* pointer = padded)
        {
            gpu.Upload(pointer, device, 0, padded.Length * sizeof(float));
        }

        sampler.Place(choices, area, rows);
        sampler.Launch(device, rows);
        sampler.Read(choices, area);
        gpu.Wait();
    }

    /// <summary>A sequence whose parameters are drawn; every other one is under penalties.</summary>
    private sealed class Drawn
    {
        private readonly List<int> _tokens;

        public Drawn(Random random, int index)
        {
            _tokens = [.. Enumerable.Range(0, 10).Select(_ => random.Next(Vocab))];
            bool penalised = index % 2 == 0;
            Parameters = new SamplingParameters
            {
                Seed = (ulong)random.NextInt64(),
                Temperature = index == 0 ? 0 : 0.3f + index * 0.4f,
                TopK = index == 1 ? 20 : 0,
                TopP = index == 2 ? 0.8f : 1,
                MinP = index == 3 ? 0.05f : 0,
                RepetitionPenalty = penalised ? 1.3f : 1,
                PresencePenalty = penalised ? 0.5f : 0,
                FrequencyPenalty = penalised ? 0.7f : 0,
                LogitBias = index == 4 ? new Dictionary<int, float> { [3] = 4, [100] = -5 } : new Dictionary<int, float>(),
                StopTokens = new HashSet<int> { 3, 4, 5 },
                MinTokens = index,
                Logprobs = index == 1 ? null : index,
            };
            Counts = penalised ? new TokenCounts(_tokens.ToArray(), []) : null;
        }

        public SamplingParameters Parameters { get; }

        public TokenCounts? Counts { get; }

        public int Generated { get; private set; }

        public int Position => _tokens.Count;

        public void Append(int token)
        {
            _tokens.Add(token);
            Counts?.AddGenerated(token);
            Generated++;
        }
    }
}
