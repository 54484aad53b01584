using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Computes one step through all blocks. A block is: norm, queries/keys/values, their rotation and way into the pages, attention over the
/// pages, output projection, norm, feed-forward. Each is one loop over rows, heads or matrix blocks, shared among the team. Scratch memory
/// is allocated once, for the largest step.
/// <para>A rank of a tensor-parallel model runs the same over its heads, its part of the inner layers and of the vocabulary, beside the others: the residual stream each rank
/// has for itself, with the same bits; what the projections into it give is summed over the ranks, and the logits go to their places in one buffer.</para>
/// </summary>
internal sealed unsafe class DecoderStep : IDisposable
{
    private const int StrideFloats = 16;

    /// <summary>Tiles of attention's rows and heads for each thread, so that none waits long for the last.</summary>
    private const int TilesPerThread = 8;

    private readonly DecoderConfig _config;
    private readonly DecoderWeights _weights;
    private readonly EmbeddingRows _embeddings;
    private readonly WorkerTeam _team;
    private readonly RankPlace _place;
    private readonly int _shard;
    private readonly bool _ranksShareKv;
    private readonly GemmLoop _gemm;
    private readonly StepRows _rows;
    private readonly AttentionStep _attention;
    private readonly FeedForwardStep _feedForward;

    private readonly int _hiddenStride;
    private readonly int _qkvStride;
    private readonly int _queryStride;

    /// <summary>[rows, hidden]: the residual stream.</summary>
    private readonly NativeBuffer _residual;

    /// <summary>[rows, hidden]: its norm, the input of the next projections.</summary>
    private readonly NativeBuffer _normed;

    /// <summary>[rows, (heads + 2 kvHeads) * headDim].</summary>
    private readonly NativeBuffer _qkv;

    /// <summary>[rows, heads * headDim].</summary>
    private readonly NativeBuffer _attended;

    private readonly Action<int, int> _embedRow;
    private readonly Action<int, int> _normRow;
    private readonly Action<int, int> _addAndNormRow;
    private readonly Action<int, int> _capRow;
    private readonly Action<int, int> _moveRow;

    // The loop under way.
    private NativeBuffer _normWeight = null!;
    private NativeBuffer? _postNormWeight;

    /// <summary>[rows, hidden]: what a block's half adds to the residual stream. Ranks share it, so it is only read.</summary>
    private float* _delta;

    // The step under way.
    private float* _logits;
    private ILayerObserver? _observer;

    /// <param name="config">Of the whole model.</param>
    /// <param name="weights">Of this rank.</param>
    /// <param name="embeddings">Of all ranks.</param>
    /// <param name="layout">Of the pool's shard that is this rank's.</param>
    public DecoderStep(
        DecoderConfig config, DecoderWeights weights, EmbeddingRows embeddings, WorkerTeam team, GemmKernels kernels, RankPlace place, KvLayout layout, int maxRows)
    {
        _shard = place.Share.KvShard(config);
        bool writesKv = place.Share.WritesKv(config);
        _ranksShareKv = RankShare.KvShards(config, place.Share.Ranks) < place.Share.Ranks;
        _config = config = place.Share.Of(config);
        _weights = weights;
        _embeddings = embeddings;
        _team = team;
        _place = place;
        _gemm = new GemmLoop(team, kernels, place.Relay, int8Bytes: weights.Int8 ? (long)maxRows * Int8Inputs.RowBytes(Math.Max(config.Hidden, config.QuerySize)) : 0);
        _hiddenStride = Padded(config.Hidden);
        _qkvStride = Padded(config.QuerySize + 2 * config.KvSize);
        _queryStride = Padded(config.QuerySize);
        _rows = new StepRows(maxRows, AttentionStep.MaxTileRows(config), (TilesPerThread * team.Threads + config.KvHeads - 1) / config.KvHeads);
        _attention = new AttentionStep(config, _rows, team, layout, maxRows, _qkvStride, _queryStride, writesKv);
        _feedForward = new FeedForwardStep(config, team, kernels, place, maxRows, _hiddenStride, weights.Int8);

        _residual = NativeBuffer.OfFloats((long)maxRows * _hiddenStride);
        _normed = NativeBuffer.OfFloats((long)maxRows * _hiddenStride);
        _qkv = NativeBuffer.OfFloats((long)maxRows * _qkvStride);
        _attended = NativeBuffer.OfFloats((long)maxRows * _queryStride);

        _embedRow = EmbedRow;
        _normRow = NormRow;
        _addAndNormRow = AddAndNormRow;
        _capRow = CapRow;
        _moveRow = MoveRow;
    }

    /// <summary>Floats of a row, rounded up to whole cache lines and panels.</summary>
    public static int Padded(int count) => (count + StrideFloats - 1) / StrideFloats * StrideFloats;

    /// <summary>Copies one row of a buffer over another.</summary>
    public static void Move(float* rows, int stride, int from, int to) =>
        new ReadOnlySpan<float>(rows + (nint)from * stride, stride).CopyTo(new Span<float>(rows + (nint)to * stride, stride));

    /// <summary>Takes over a validated step; see <see cref="IModelRunner.Forward"/>.</summary>
    /// <param name="pool">Of all ranks.</param>
    /// <param name="observer">Told by the first rank.</param>
    public void Begin(ReadOnlySpan<StepSlice> slices, KvPool pool, float* logits, ILayerObserver? observer)
    {
        _rows.Place(slices, pool.Shard(_shard));
        _logits = logits;
        _observer = observer;
    }

    /// <summary>Computes the step. Ranks run it at the same time, each on a thread of its own.</summary>
    public void Run()
    {
        try
        {
            _place.Relay?.BeginStep();
            _team.PinCaller();
            _team.For(_rows.Count, _embedRow);
            for (int layer = 0; layer < _config.Layers; layer++)
            {
                _rows.Layer = layer;
                RunBlock(layer);
            }

            if (_rows.Count > 0)
            {
                AddAndNorm(_weights.Blocks[^1].PostFeedForwardNorm, _weights.FinalNorm);
                WriteLogits();
            }
        }
        finally
        {
            // A runner between steps keeps no caller's memory alive.
            _rows.Clear();
            _observer = null;
        }
    }

    public void Dispose()
    {
        _gemm.Dispose();
        _attention.Dispose();
        _feedForward.Dispose();
        NativeBuffer[] buffers = [_residual, _normed, _qkv, _attended];
        foreach (var buffer in buffers)
        {
            buffer.Dispose();
        }
    }

    private void RunBlock(int layer)
    {
        var weights = _weights.Blocks[layer];
        if (layer == 0)
        {
            _normWeight = weights.AttentionNorm;
            _team.For(_rows.Count, _normRow);
        }
        else
        {
            AddAndNorm(_weights.Blocks[layer - 1].PostFeedForwardNorm, weights.AttentionNorm);
        }

        _gemm.Multiply(weights.Qkv, _normed.Floats, _hiddenStride, _rows.Count, _qkv.Floats, _qkvStride);
        _attention.WriteKv(weights, _qkv.Floats);
        EndKv(layer);
        if (layer == _config.Layers - 1)
        {
            // Nothing reads what the last block makes of rows without logits.
            _rows.KeepThoseWithLogits(_moveRow);
        }

        if (_rows.Count > 0)
        {
            _attention.Attend(_attended.Floats);
            _gemm.Multiply(weights.AttentionOutput, _attended.Floats, _queryStride, _rows.Count, _place.Sums.Attention.Floats, _hiddenStride, summed: true);
            _delta = _place.Sums.Attention.Floats;
            AddAndNorm(weights.PostAttentionNorm, weights.FeedForwardNorm);
            _delta = _feedForward.Run(weights, _config.Blocks[layer].Experts, _normed.Floats, _rows.Count);
        }
    }

    /// <summary>Where somebody else reads what a rank has written, all wait until every rank has.</summary>
    private void EndKv(int layer)
    {
        if (_observer is not null || _ranksShareKv)
        {
            _place.Meet();
        }

        if (_place.Share.Rank == 0)
        {
            _observer?.LayerDone(layer);
        }
    }

    /// <summary>Adds the delta to the residual stream, normed itself where the model says so, and norms the sum.</summary>
    private void AddAndNorm(NativeBuffer? postNorm, NativeBuffer norm)
    {
        _postNormWeight = postNorm;
        _normWeight = norm;
        _team.For(_rows.Count, _addAndNormRow);
    }

    private void WriteLogits()
    {
        _gemm.Multiply(_weights.Output, _normed.Floats, _hiddenStride, _rows.Count, _logits + _weights.Vocabulary.First, _config.VocabSize, exactOutputs: true);
        if (_config.LogitSoftCap is not null)
        {
            _team.For(_rows.Count, _capRow);
        }
    }

    private void MoveRow(int from, int to)
    {
        Move(_residual.Floats, _hiddenStride, from, to);
        _attention.MoveRow(from, to);
    }

    private void EmbedRow(int row, int worker)
    {
        float* residual = _residual.Floats + (nint)row * _hiddenStride;
        _embeddings.Read(_rows.Token(row), residual);
        if (_config.ScaledEmbeddings)
        {
            RowKernels.Scale(residual, _weights.EmbeddingScale, _config.Hidden);
        }

        _attention.PlaceRow(row);
    }

    private void NormRow(int row, int worker)
    {
        nint offset = (nint)row * _hiddenStride;
        RowKernels.RmsNorm(_residual.Floats + offset, _normWeight.Floats, _normed.Floats + offset, _config.Hidden, _config.NormEpsilon);
    }

    private void AddAndNormRow(int row, int worker)
    {
        nint offset = (nint)row * _hiddenStride;
        float* delta = _delta + offset;
        if (_postNormWeight is not null)
        {
            // Where the norm of the sum goes right after.
            RowKernels.RmsNorm(delta, _postNormWeight.Floats, _normed.Floats + offset, _config.Hidden, _config.NormEpsilon);
            delta = _normed.Floats + offset;
        }

        RowKernels.Add(_residual.Floats + offset, delta, _config.Hidden);
        NormRow(row, worker);
    }

    private void CapRow(int row, int worker) =>
        RowKernels.SoftCap(_logits + (nint)row * _config.VocabSize + _weights.Vocabulary.First, _config.LogitSoftCap!.Value, _weights.Vocabulary.Count);
}
