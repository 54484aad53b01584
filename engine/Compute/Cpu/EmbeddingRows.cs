using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>The embeddings of a model's tokens, wherever each of its ranks has some of them: they are read where they are.</summary>
internal sealed unsafe class EmbeddingRows
{
    private readonly PackedMatrix[] _parts;
    private readonly int[] _ends;

    /// <param name="ranks">The weights of all ranks, in order.</param>
    public EmbeddingRows(IReadOnlyList<DecoderWeights> ranks)
    {
        _parts = [.. ranks.Select(rank => rank.Embedding)];
        _ends = [.. ranks.Select(rank => rank.Vocabulary.First + rank.Vocabulary.Count)];
    }

    /// <summary>Writes [hidden] of a token.</summary>
    public void Read(int token, float* row)
    {
        int part = 0;
        while (token >= _ends[part])
        {
            part++;
        }

        _parts[part].ReadRow(token - (part == 0 ? 0 : _ends[part - 1]), row);
    }
}
