using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Computes one step through all layers. A layer is: norm, queries/keys/values, rotation and write of the keys and values to their
/// pages, attention over the pages, output projection, norm, gated feed-forward. Each is one loop over rows, heads or matrix blocks,
/// shared among the team. Scratch memory is allocated once, for the largest step.
/// </summary>
internal sealed unsafe class DecoderStep : IDisposable
{
    private const int StrideFloats = 16;

    private readonly DecoderConfig _config;
    private readonly DecoderWeights _weights;
    private readonly WorkerTeam _team;
    private readonly GemmLoop _gemm;
    private readonly int _pageTokens;
    private readonly double[] _frequencies;
    private readonly float _attentionScale;

    private readonly int _hiddenStride;
    private readonly int _qkvStride;
    private readonly int _queryStride;
    private readonly int _gateUpStride;
    private readonly int _innerStride;
    private readonly int _scoreStride;

    /// <summary>[rows, hidden]: the residual stream.</summary>
    private readonly NativeBuffer _residual;

    /// <summary>[rows, hidden]: its norm, the input of the next projections.</summary>
    private readonly NativeBuffer _normed;

    /// <summary>[rows, hidden]: what a layer's half adds to the residual stream.</summary>
    private readonly NativeBuffer _delta;

    /// <summary>[rows, (heads + 2 kvHeads) * headDim].</summary>
    private readonly NativeBuffer _qkv;

    /// <summary>[rows, heads * headDim].</summary>
    private readonly NativeBuffer _attended;

    /// <summary>[rows, 2 * feedForward].</summary>
    private readonly NativeBuffer _gateUp;

    /// <summary>[rows, feedForward].</summary>
    private readonly NativeBuffer _inner;

    /// <summary>[rows, headDim/2] each.</summary>
    private readonly NativeBuffer _cos;
    private readonly NativeBuffer _sin;

    /// <summary>[threads, heads of a group, positions].</summary>
    private readonly NativeBuffer _scores;

    private readonly int[] _rowSlices;
    private readonly int[] _rowPositions;
    private readonly StepSlice[] _slices;

    private readonly Action<int, int> _embedRow;
    private readonly Action<int, int> _normRow;
    private readonly Action<int, int> _addAndNormRow;
    private readonly Action<int, int> _writeKvRow;
    private readonly Action<int, int> _attendRow;
    private readonly Action<int, int> _activateRow;

    // The step under way.
    private KvPool _pool = null!;
    private int _rows;
    private int _layer;
    private float* _normWeight;

    public DecoderStep(DecoderConfig config, DecoderWeights weights, WorkerTeam team, GemmKernels kernels, int pageTokens, int maxRows)
    {
        _config = config;
        _weights = weights;
        _team = team;
        _gemm = new GemmLoop(team, kernels);
        _pageTokens = pageTokens;
        _frequencies = config.Rope.Frequencies(config.HeadDim);
        _attentionScale = (float)(1 / Math.Sqrt(config.HeadDim));

        _hiddenStride = Padded(config.Hidden);
        _qkvStride = Padded(config.QuerySize + 2 * config.KvSize);
        _queryStride = Padded(config.QuerySize);
        _gateUpStride = Padded(2 * config.FeedForward);
        _innerStride = Padded(config.FeedForward);
        _scoreStride = Padded(config.ContextLength);

        _residual = NativeBuffer.OfFloats((long)maxRows * _hiddenStride);
        _normed = NativeBuffer.OfFloats((long)maxRows * _hiddenStride);
        _delta = NativeBuffer.OfFloats((long)maxRows * _hiddenStride);
        _qkv = NativeBuffer.OfFloats((long)maxRows * _qkvStride);
        _attended = NativeBuffer.OfFloats((long)maxRows * _queryStride);
        _gateUp = NativeBuffer.OfFloats((long)maxRows * _gateUpStride);
        _inner = NativeBuffer.OfFloats((long)maxRows * _innerStride);
        _cos = NativeBuffer.OfFloats((long)maxRows * _frequencies.Length);
        _sin = NativeBuffer.OfFloats((long)maxRows * _frequencies.Length);
        _scores = NativeBuffer.OfFloats((long)team.Threads * config.GroupSize * _scoreStride);
        _rowSlices = new int[maxRows];
        _rowPositions = new int[maxRows];
        _slices = new StepSlice[maxRows];

        _embedRow = EmbedRow;
        _normRow = NormRow;
        _addAndNormRow = AddAndNormRow;
        _writeKvRow = WriteKvRow;
        _attendRow = AttendRow;
        _activateRow = ActivateRow;
    }

    /// <summary>Computes a validated step; see <see cref="IModelRunner.Forward"/>.</summary>
    public void Run(ReadOnlySpan<StepSlice> slices, KvPool pool, float* logits, ILayerObserver? observer)
    {
        slices.CopyTo(_slices);
        _pool = pool;
        try
        {
            PlaceRows(slices);
            _team.For(_rows, _embedRow);
            for (_layer = 0; _layer < _config.Layers; _layer++)
            {
                var weights = _weights.Layers[_layer];
                _normWeight = weights.AttentionNorm.Floats;
                _team.For(_rows, _layer == 0 ? _normRow : _addAndNormRow);
                _gemm.Multiply(weights.Qkv, _normed.Floats, _hiddenStride, _rows, _qkv.Floats, _qkvStride);
                _team.For(_rows, _writeKvRow);
                observer?.LayerDone(_layer);
                if (_layer == _config.Layers - 1)
                {
                    // Nothing reads what the last layer makes of rows without logits.
                    KeepRowsWithLogits();
                }

                RunLayerAfterKv(weights);
            }

            if (_rows > 0)
            {
                _normWeight = _weights.FinalNorm.Floats;
                _team.For(_rows, _addAndNormRow);
                _gemm.Multiply(_weights.Output, _normed.Floats, _hiddenStride, _rows, logits, _config.VocabSize, exactOutputs: true);
            }
        }
        finally
        {
            // A runner between steps keeps no caller's memory alive.
            _slices.AsSpan(0, slices.Length).Clear();
            _pool = null!;
        }
    }

    public void Dispose()
    {
        NativeBuffer[] buffers = [_residual, _normed, _delta, _qkv, _attended, _gateUp, _inner, _cos, _sin, _scores];
        foreach (var buffer in buffers)
        {
            buffer.Dispose();
        }
    }

    private static int Padded(int count) => (count + StrideFloats - 1) / StrideFloats * StrideFloats;

    private void PlaceRows(ReadOnlySpan<StepSlice> slices)
    {
        _rows = 0;
        for (int slice = 0; slice < slices.Length; slice++)
        {
            for (int i = 0; i < slices[slice].Count; i++)
            {
                _rowSlices[_rows] = slice;
                _rowPositions[_rows++] = slices[slice].Position + i;
            }
        }
    }

    private void RunLayerAfterKv(LayerWeights weights)
    {
        if (_rows == 0)
        {
            return;
        }

        _team.For(_rows * _config.KvHeads, _attendRow);
        _gemm.Multiply(weights.AttentionOutput, _attended.Floats, _queryStride, _rows, _delta.Floats, _hiddenStride);
        _normWeight = weights.FeedForwardNorm.Floats;
        _team.For(_rows, _addAndNormRow);
        _gemm.Multiply(weights.GateUp, _normed.Floats, _hiddenStride, _rows, _gateUp.Floats, _gateUpStride);
        _team.For(_rows, _activateRow);
        _gemm.Multiply(weights.Down, _inner.Floats, _innerStride, _rows, _delta.Floats, _hiddenStride);
    }

    /// <summary>Moves the rows whose logits are wanted to the front; the others are dropped.</summary>
    private void KeepRowsWithLogits()
    {
        int kept = 0;
        for (int row = 0; row < _rows; row++)
        {
            ref readonly var slice = ref _slices[_rowSlices[row]];
            if (!slice.WantsLogits || _rowPositions[row] != slice.Position + slice.Count - 1)
            {
                continue;
            }

            CopyRow(_residual.Floats, _hiddenStride, row, kept);
            CopyRow(_qkv.Floats, _qkvStride, row, kept);
            _rowSlices[kept] = _rowSlices[row];
            _rowPositions[kept++] = _rowPositions[row];
        }

        _rows = kept;
    }

    private static void CopyRow(float* rows, int stride, int from, int to)
    {
        if (from != to)
        {
            new ReadOnlySpan<float>(rows + (nint)from * stride, stride).CopyTo(new Span<float>(rows + (nint)to * stride, stride));
        }
    }

    private void EmbedRow(int row, int worker)
    {
        ref readonly var slice = ref _slices[_rowSlices[row]];
        int position = _rowPositions[row];
        _weights.Embedding.ReadRow(slice.Tokens.Span[position - slice.Position], _residual.Floats + (nint)row * _hiddenStride);
        for (int i = 0; i < _frequencies.Length; i++)
        {
            var (sin, cos) = Math.SinCos(position * _frequencies[i]);
            _cos.Floats[(nint)row * _frequencies.Length + i] = (float)cos;
            _sin.Floats[(nint)row * _frequencies.Length + i] = (float)sin;
        }
    }

    private void NormRow(int row, int worker)
    {
        nint offset = (nint)row * _hiddenStride;
        RowKernels.RmsNorm(_residual.Floats + offset, _normWeight, _normed.Floats + offset, _config.Hidden, _config.NormEpsilon);
    }

    private void AddAndNormRow(int row, int worker)
    {
        nint offset = (nint)row * _hiddenStride;
        RowKernels.Add(_residual.Floats + offset, _delta.Floats + offset, _config.Hidden);
        NormRow(row, worker);
    }

    /// <summary>Rotates a row's queries in place and its keys into their page, and copies its values there.</summary>
    private void WriteKvRow(int row, int worker)
    {
        int headDim = _config.HeadDim;
        int half = headDim / 2;
        float* cos = _cos.Floats + (nint)row * half;
        float* sin = _sin.Floats + (nint)row * half;
        float* queries = _qkv.Floats + (nint)row * _qkvStride;
        for (int head = 0; head < _config.Heads; head++)
        {
            RowKernels.Rotate(queries + head * headDim, cos, sin, queries + head * headDim, half);
        }

        int position = _rowPositions[row];
        int page = _slices[_rowSlices[row]].Pages.Span[position / _pageTokens];
        float* keyPlane = (float*)_pool.PagePointer(_layer, page);
        float* valuePlane = keyPlane + (nint)_config.KvSize * _pageTokens;
        float* keys = queries + _config.QuerySize;
        float* values = keys + _config.KvSize;
        for (int head = 0; head < _config.KvHeads; head++)
        {
            nint slot = ((nint)head * _pageTokens + position % _pageTokens) * headDim;
            RowKernels.Rotate(keys + head * headDim, cos, sin, keyPlane + slot, half);
            new ReadOnlySpan<float>(values + head * headDim, headDim).CopyTo(new Span<float>(valuePlane + slot, headDim));
        }
    }

    /// <summary>
    /// Attention of one row for the query heads that share one key/value head, page by page: the heads take turns on a page while it is
    /// in cache. Item: row * kvHeads + kvHead.
    /// </summary>
    private void AttendRow(int item, int worker)
    {
        int row = item / _config.KvHeads;
        int kvHead = item % _config.KvHeads;
        int headDim = _config.HeadDim;
        int group = _config.GroupSize;
        int end = _rowPositions[row] + 1;
        int window = _config.LayerWindows[_layer];
        int begin = window >= end ? 0 : end - window;
        var pages = _slices[_rowSlices[row]].Pages.Span;
        nint headOffset = (nint)kvHead * _pageTokens * headDim;
        nint valueOffset = (nint)_config.KvSize * _pageTokens;
        float* queries = _qkv.Floats + (nint)row * _qkvStride + kvHead * group * headDim;
        float* outputs = _attended.Floats + (nint)row * _queryStride + kvHead * group * headDim;
        float* scores = _scores.Floats + (nint)worker * group * _scoreStride;

        for (int t = begin; t < end;)
        {
            int count = Math.Min(end - t, _pageTokens - t % _pageTokens);
            float* keys = (float*)_pool.PagePointer(_layer, pages[t / _pageTokens]) + headOffset + (nint)(t % _pageTokens) * headDim;
            for (int g = 0; g < group; g++)
            {
                AttentionKernels.Scores(
                    queries + g * headDim, keys, count, headDim, _attentionScale, scores + (nint)g * _scoreStride + (t - begin));
            }

            t += count;
        }

        float* sums = stackalloc float[group];
        for (int g = 0; g < group; g++)
        {
            sums[g] = AttentionKernels.Exponentials(scores + (nint)g * _scoreStride, end - begin);
        }

        new Span<float>(outputs, group * headDim).Clear();
        for (int t = begin; t < end;)
        {
            int count = Math.Min(end - t, _pageTokens - t % _pageTokens);
            float* values = (float*)_pool.PagePointer(_layer, pages[t / _pageTokens]) + valueOffset + headOffset + (nint)(t % _pageTokens) * headDim;
            AttentionKernels.Accumulate(scores + (t - begin), _scoreStride, group, values, count, headDim, outputs);
            t += count;
        }

        for (int g = 0; g < group; g++)
        {
            AttentionKernels.Divide(outputs + g * headDim, sums[g], headDim);
        }
    }

    private void ActivateRow(int row, int worker)
    {
        float* gate = _gateUp.Floats + (nint)row * _gateUpStride;
        RowKernels.SiluMultiply(gate, gate + _config.FeedForward, _inner.Floats + (nint)row * _innerStride, _config.FeedForward);
    }
}
