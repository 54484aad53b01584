using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// The part of a block between its projections: norms and rotates queries and keys, writes keys and values to their pages, and attends to the
/// pages. Keys of every position stay in their page; a window only says which of them are read.
/// </summary>
internal sealed unsafe class AttentionStep : IDisposable
{
    private readonly DecoderConfig _config;
    private readonly StepRows _rows;
    private readonly WorkerTeam _team;
    private readonly int _pageTokens;
    private readonly int _qkvStride;
    private readonly int _outputStride;
    private readonly int _scoreStride;
    private readonly RopeTable[] _tables;

    /// <summary>[layers]: the block's rotation.</summary>
    private readonly RopeTable[] _tableOfLayer;

    /// <summary>[threads, heads of a group, positions].</summary>
    private readonly NativeBuffer _scores;

    private readonly Action<int, int> _writeRow;
    private readonly Action<int, int> _attendRow;

    private BlockWeights _weights = null!;
    private float* _qkv;
    private float* _outputs;

    /// <param name="qkvStride">Floats from one row of queries, keys and values to the next.</param>
    /// <param name="outputStride">Floats from one row of outputs to the next.</param>
    public AttentionStep(DecoderConfig config, StepRows rows, WorkerTeam team, int pageTokens, int maxRows, int qkvStride, int outputStride)
    {
        _config = config;
        _rows = rows;
        _team = team;
        _pageTokens = pageTokens;
        _qkvStride = qkvStride;
        _outputStride = outputStride;
        _scoreStride = DecoderStep.Padded(config.ContextLength);
        var ropes = config.Blocks.Select(block => block.Rope).Distinct().ToList();
        _tables = [.. ropes.Select(rope => new RopeTable(rope, maxRows))];
        _tableOfLayer = [.. config.Blocks.Select(block => _tables[ropes.IndexOf(block.Rope)])];
        _scores = NativeBuffer.OfFloats((long)team.Threads * config.GroupSize * _scoreStride);
        _writeRow = WriteRow;
        _attendRow = AttendRow;
    }

    /// <summary>Fills the rotations of a row for all blocks.</summary>
    public void PlaceRow(int row)
    {
        foreach (var table in _tables)
        {
            table.Fill(row, _rows.Position(row), _rows.Slice(row).LongContext);
        }
    }

    /// <param name="qkv">[rows, qkvStride]: queries, keys and values of all heads; queries are normed and rotated in place.</param>
    public void WriteKv(BlockWeights weights, float* qkv)
    {
        _weights = weights;
        _qkv = qkv;
        _team.For(_rows.Count, _writeRow);
    }

    /// <param name="outputs">[rows, outputStride]: a weighted sum of values for each query head.</param>
    public void Attend(float* outputs)
    {
        _outputs = outputs;
        _team.For(_rows.Count * _config.KvHeads, _attendRow);
    }

    public void Dispose()
    {
        _scores.Dispose();
        foreach (var table in _tables)
        {
            table.Dispose();
        }
    }

    private void WriteRow(int row, int worker)
    {
        int headDim = _config.HeadDim;
        var table = _tableOfLayer[_rows.Layer];
        float* queries = _qkv + (nint)row * _qkvStride;
        for (int head = 0; head < _config.Heads; head++)
        {
            float* query = queries + head * headDim;
            NormHead(query, _weights.QueryNorm);
            RowKernels.Rotate(query, table.Cos(row), table.Sin(row), query, table.Pairs);
        }

        int position = _rows.Position(row);
        int page = _rows.Slice(row).Pages.Span[position / _pageTokens];
        float* keyPlane = (float*)_rows.Pool.PagePointer(_rows.Layer, page);
        float* valuePlane = keyPlane + (nint)_config.KvSize * _pageTokens;
        float* keys = queries + _config.QuerySize;
        float* values = keys + _config.KvSize;
        int rotated = 2 * table.Pairs;
        for (int head = 0; head < _config.KvHeads; head++)
        {
            nint slot = ((nint)head * _pageTokens + position % _pageTokens) * headDim;
            float* key = keys + head * headDim;
            NormHead(key, _weights.KeyNorm);
            RowKernels.Rotate(key, table.Cos(row), table.Sin(row), keyPlane + slot, table.Pairs);
            new ReadOnlySpan<float>(key + rotated, headDim - rotated).CopyTo(new Span<float>(keyPlane + slot + rotated, headDim - rotated));
            new ReadOnlySpan<float>(values + head * headDim, headDim).CopyTo(new Span<float>(valuePlane + slot, headDim));
        }
    }

    private void NormHead(float* head, NativeBuffer? weight)
    {
        if (weight is not null)
        {
            RowKernels.RmsNorm(head, weight.Floats, head, _config.HeadDim, _config.NormEpsilon);
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
        int end = _rows.Position(row) + 1;
        int window = _config.Blocks[_rows.Layer].Window;
        int begin = window >= end ? 0 : end - window;
        var pages = _rows.Slice(row).Pages.Span;
        nint headOffset = (nint)kvHead * _pageTokens * headDim;
        nint valueOffset = (nint)_config.KvSize * _pageTokens;
        float* queries = _qkv + (nint)row * _qkvStride + kvHead * group * headDim;
        float* outputs = _outputs + (nint)row * _outputStride + kvHead * group * headDim;
        float* scores = _scores.Floats + (nint)worker * group * _scoreStride;

        for (int t = begin; t < end;)
        {
            int count = Math.Min(end - t, _pageTokens - t % _pageTokens);
            float* keys = (float*)_rows.Pool.PagePointer(_rows.Layer, pages[t / _pageTokens]) + headOffset + (nint)(t % _pageTokens) * headDim;
            for (int g = 0; g < group; g++)
            {
                AttentionKernels.Scores(
                    queries + g * headDim, keys, count, headDim, _config.AttentionScale, scores + (nint)g * _scoreStride + (t - begin));
            }

            t += count;
        }

        float* sums = stackalloc float[group];
        for (int g = 0; g < group; g++)
        {
            if (_config.AttentionSoftCap is { } cap)
            {
                RowKernels.SoftCap(scores + (nint)g * _scoreStride, cap, end - begin);
            }

            sums[g] = AttentionKernels.Exponentials(scores + (nint)g * _scoreStride, end - begin);
        }

        new Span<float>(outputs, group * headDim).Clear();
        for (int t = begin; t < end;)
        {
            int count = Math.Min(end - t, _pageTokens - t % _pageTokens);
            float* values = (float*)_rows.Pool.PagePointer(_rows.Layer, pages[t / _pageTokens]) + valueOffset + headOffset + (nint)(t % _pageTokens) * headDim;
            AttentionKernels.Accumulate(scores + (t - begin), _scoreStride, group, values, count, headDim, outputs);
            t += count;
        }

        for (int g = 0; g < group; g++)
        {
            AttentionKernels.Divide(outputs + g * headDim, sums[g], headDim);
        }
    }
}
