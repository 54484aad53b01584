using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>Bytes of a GPU's memory that a model takes, before any of it is taken.</summary>
internal static class CudaMemory
{
    private const long ElementBytes = 2, FloatBytes = sizeof(float);

    /// <summary>What <see cref="CudaWeights"/> allocates.</summary>
    public static long Weights(DecoderConfig config)
    {
        long hidden = config.Hidden, query = config.QuerySize, qkv = query + 2 * config.KvSize, inner = config.FeedForward;
        long matrices = qkv * hidden + hidden * query + 3 * inner * hidden;
        long biases = (config.QkvBias ? qkv : 0) + (config.OutputBias ? hidden : 0) + (config.FeedForwardBias ? 2 * inner + hidden : 0);
        long norms = (config.PostNorms ? 4 : 2) * hidden + (config.QueryKeyNorm ? 2 * config.HeadDim : 0);
        long embeddings = (config.TiedEmbeddings ? 1 : 2) * (long)config.VocabSize * hidden;
        return config.Layers * ((matrices + biases) * ElementBytes + norms * FloatBytes) + embeddings * ElementBytes + hidden * FloatBytes;
    }

    /// <summary>What <see cref="CudaStep"/>, <see cref="StepInputs"/> and the logits take; contexts that decode grow it later by what their units leave between the kernels.</summary>
    public static long Step(DecoderConfig config, KvLayout layout, int maxRows, int logitRows, int multiprocessors)
    {
        long ropes = config.Blocks.Select(block => block.Rope).Distinct().Sum(rope => rope.Frequencies.Count * (2L * sizeof(double) + maxRows * 2 * FloatBytes));
        long row = 2 * config.Hidden * FloatBytes
            + (config.Hidden + config.QuerySize + 2L * config.KvSize + (long)config.Heads * config.HeadStride + config.QuerySize + 3L * config.FeedForward) * ElementBytes
            + (long)config.Heads * (config.HeadStride + 2) * FloatBytes;
        return ropes + maxRows * row + StepInputs.BytesFor(maxRows, config.GroupSize) + CudaProducts.ChainBytes(config, maxRows, multiprocessors) + (long)logitRows * config.VocabSize * FloatBytes + CudaSampler.BytesFor(logitRows, config.VocabSize);
    }
}
