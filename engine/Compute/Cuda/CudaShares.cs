using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Cuda.Compilation;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>How a model is divided among GPUs: as among ranks on the CPU, but that what each computes of a sum is added up by all of them together.</summary>
internal static class CudaShares
{
    /// <summary>Weights.cuh: ScaleInputs; the vectors that kernels read.</summary>
    private const int ScaleInputs = 32, VectorInputs = 8;

    /// <summary>The shares of a model.</summary>
    /// <exception cref="NotSupportedException">It cannot be divided so; every reason is named.</exception>
    public static IReadOnlyList<RankShare> Divide(DecoderConfig config, int ranks, StoredWeights weights)
    {
        if (ranks == 1)
        {
            return [RankShare.Whole];
        }

        int unit = weights == StoredWeights.Computed ? VectorInputs : ScaleInputs;
        string[] errors = [.. Errors(config, ranks, unit)];
        return errors.Length == 0
            ? [.. Enumerable.Range(0, ranks).Select(rank => new RankShare(rank, ranks, unit))]
            : throw new NotSupportedException($"--tensor-parallel {ranks}: the model cannot be divided among as many GPUs: {string.Join("; ", errors)}");
    }

    private static IEnumerable<string> Errors(DecoderConfig config, int ranks, int unit)
    {
        if (config.KvHeads % ranks != 0)
        {
            yield return $"its {config.KvHeads} key/value heads are no multiple of {ranks}";
        }
        else if (unit == ScaleInputs && config.Heads / ranks * config.HeadStride % unit != 0)
        {
            yield return $"{config.Heads / ranks} query heads of {config.HeadStride} a GPU are no multiple of {unit} inputs, which share a scale (--weights)";
        }

        foreach (int width in config.Blocks.Select(block => block.Experts?.FeedForward ?? config.FeedForward).Distinct())
        {
            if ((width + unit - 1) / unit < ranks)
            {
                yield return $"a feed-forward's width of {width} in units of {unit} is less than one for each";
            }
        }

        if (config.VocabSize / ranks < unit)
        {
            yield return $"its vocabulary of {config.VocabSize} is too small";
        }
    }
}
