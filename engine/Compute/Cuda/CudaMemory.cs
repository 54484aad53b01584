using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>Bytes of a GPU's memory that a model takes, before any of it is taken.</summary>
internal static class CudaMemory
{
    private const long ElementBytes = 2, FloatBytes = sizeof(float);

    /// <summary>What <see cref="CudaWeights"/> allocates.</summary>
    /// <param name="whole">The whole model's.</param>
    public static long Weights(DecoderConfig whole, ModelKernels kernels, int routerParts, RankShare share)
    {
        var config = share.Of(whole);
        // Products of a part of the inputs have the bias on the first rank alone.
        bool summedBias = share.Rank == 0;
        long Matrix(long outputs, InputPlaces places, StoredWeights? stored = null)
        {
            var rows = new WeightRows(kernels.Compute, stored ?? kernels.Weights, places);
            return outputs * (rows.Bytes + rows.ScaleBytes);
        }

        InputPlaces hidden = InputPlaces.Whole(config.Hidden), heads = new(config.Heads, config.HeadDim, config.HeadStride);
        long qkv = config.QuerySize + 2L * config.KvSize, dense = CudaWeights.Padded(config.FeedForward);
        long outputs = !share.IsWhole ? share.OfVocabulary(whole).Count : config.TiedEmbeddings ? 0 : config.VocabSize;
        long bytes = Matrix(config.VocabSize + outputs, hidden) + config.Hidden * FloatBytes;
        foreach (var block in config.Blocks)
        {
            bytes += Matrix(qkv, hidden) + Matrix(config.Hidden, heads) + ((config.PostNorms ? 4 : 2) * config.Hidden + (config.QueryKeyNorm ? 2 * config.HeadDim : 0)) * FloatBytes;
            bytes += ((config.QkvBias ? qkv : 0) + (config.OutputBias && summedBias ? config.Hidden : 0)) * ElementBytes;
            bytes += block.Experts is { } experts
                ? Matrix((long)experts.Count * routerParts, hidden, StoredWeights.Computed)
                    + experts.Count * (Matrix(2L * CudaWeights.Padded(experts.FeedForward), hidden) + Matrix(config.Hidden, InputPlaces.Whole(experts.FeedForward)))
                : Matrix(2 * dense, hidden) + Matrix(config.Hidden, InputPlaces.Whole(config.FeedForward)) + (config.FeedForwardBias ? 2 * dense + (summedBias ? config.Hidden : 0) : 0) * ElementBytes;
        }

        return bytes;
    }

    /// <summary>What <see cref="CudaStep"/>, <see cref="StepInputs"/>, <see cref="CudaSampler"/> and the logits take.</summary>
    /// <param name="whole">The whole model's.</param>
    public static long Step(DecoderConfig whole, KvLayout layout, int routerParts, RankShare share, StepLimits limits, ManyRowProducts many, int multiprocessors)
    {
        var config = share.Of(whole);
        int maxRows = limits.Rows, unit = StepKernels.UnitTokens(config.HeadStride);
        long logits = limits.Sequences * (config.VocabSize * FloatBytes + (share.IsWhole ? 0 : share.OfVocabulary(whole).Count * FloatBytes + sizeof(int)));
        long sampler = share.Rank == 0 ? CudaSampler.BytesFor(limits.Sequences, config.VocabSize) : 0;
        long ropes = config.Blocks.Select(block => block.Rope).Distinct().Sum(rope => rope.Frequencies.Count * (2L * sizeof(double) + maxRows * 2 * FloatBytes));
        long row = 2 * config.Hidden * FloatBytes
            + (CudaWeights.Padded(config.Hidden) + config.QuerySize + 2L * config.KvSize + 2L * config.Heads * config.HeadStride) * ElementBytes;
        return ropes + maxRows * row + (long)limits.Units * config.Heads * (config.HeadStride + 2) * FloatBytes + CudaFeedForward.BytesFor(config, routerParts, maxRows)
            + StepInputs.BytesFor(limits, layout, config.GroupSize, unit) + CudaProducts.ChainBytes(config, maxRows, multiprocessors) + logits + sampler
            + (many == ManyRowProducts.CublasLt ? CublasLtProducts.WorkspaceBytes : 0);
    }
}
