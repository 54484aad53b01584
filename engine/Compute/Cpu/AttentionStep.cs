using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// The part of a block between its projections: norms and rotates queries and keys, writes keys and values to their pages, and attends to the
/// pages. Keys of every position stay in their page; a window only says which of them are read. Heads that are no whole vectors are padded with zeros on
/// the way. Pages of 16-bit elements are widened, a run of tokens at a time, into memory of the worker's own before anything is computed with them.
/// </summary>
internal sealed unsafe class AttentionStep : IDisposable
{
    /// <summary>Tokens widened at a time: few enough to stay in the first-level cache.</summary>
    private const int WidenedTokens = 32;

    private readonly DecoderConfig _config;
    private readonly StepRows _rows;
    private readonly WorkerTeam _team;
    private readonly KvLayout _layout;
    private readonly int _pageTokens;
    private readonly int _qkvStride;
    private readonly int _outputStride;
    private readonly int _scoreStride;
    private readonly bool _padsHeads;
    private readonly bool _convertsKv;
    private readonly bool _writesKv;
    private readonly RopeTable[] _tables;

    /// <summary>[layers]: the block's rotation.</summary>
    private readonly RopeTable[] _tableOfLayer;

    /// <summary>[threads, rows of a tile, heads of a group, positions].</summary>
    private readonly NativeBuffer _scores;

    /// <summary>[rows, heads, headStride]; empty where heads need no padding and stay where they are.</summary>
    private readonly NativeBuffer _paddedQueries;

    /// <summary>[threads, rows of a tile, heads of a group, headStride]; empty as <see cref="_paddedQueries"/>.</summary>
    private readonly NativeBuffer _paddedOutputs;

    /// <summary>[threads, widened tokens, headStride]; empty where the pages hold f32.</summary>
    private readonly NativeBuffer _widened;

    private readonly Action<int, int> _writeRow;
    private readonly Action<int, int> _attendTile;

    private BlockWeights _weights = null!;
    private float* _qkv;
    private float* _outputs;

    /// <param name="qkvStride">Floats from one row of queries, keys and values to the next.</param>
    /// <param name="writesKv">False if another rank writes the keys and values, which this one has no projections for.</param>
    /// <param name="outputStride">Floats from one row of outputs to the next.</param>
    public AttentionStep(DecoderConfig config, StepRows rows, WorkerTeam team, KvLayout layout, int maxRows, int qkvStride, int outputStride, bool writesKv)
    {
        _writesKv = writesKv;
        _config = config;
        _rows = rows;
        _team = team;
        _layout = layout;
        _pageTokens = layout.PageTokens;
        _qkvStride = qkvStride;
        _outputStride = outputStride;
        _scoreStride = DecoderStep.Padded(config.ContextLength);
        var ropes = config.Blocks.Select(block => block.Rope).Distinct().ToList();
        _tables = [.. ropes.Select(rope => new RopeTable(rope, maxRows))];
        _tableOfLayer = [.. config.Blocks.Select(block => _tables[ropes.IndexOf(block.Rope)])];
        _scores = NativeBuffer.OfFloats((long)team.Threads * StepRows.TileRows * config.GroupSize * _scoreStride);
        _padsHeads = config.HeadStride != config.HeadDim;
        _paddedQueries = NativeBuffer.OfFloats(_padsHeads ? (long)maxRows * config.Heads * config.HeadStride : 0);
        _paddedOutputs = NativeBuffer.OfFloats(_padsHeads ? (long)team.Threads * StepRows.TileRows * config.GroupSize * config.HeadStride : 0);
        _convertsKv = layout.DataType != KvDataType.Float32;
        _widened = NativeBuffer.OfFloats(_convertsKv ? (long)team.Threads * WidenedTokens * config.HeadStride : 0);
        _writeRow = WriteRow;
        _attendTile = AttendTile;
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
        _team.For(_rows.TileCount * _config.KvHeads, _attendTile);
    }

    /// <summary>Gives a row's queries, as <see cref="WriteKv"/> left them, to another row.</summary>
    public void MoveRow(int from, int to)
    {
        if (_padsHeads)
        {
            DecoderStep.Move(_paddedQueries.Floats, _config.Heads * _config.HeadStride, from, to);
        }
        else
        {
            DecoderStep.Move(_qkv, _qkvStride, from, to);
        }
    }

    public void Dispose()
    {
        _scores.Dispose();
        _paddedQueries.Dispose();
        _paddedOutputs.Dispose();
        _widened.Dispose();
        foreach (var table in _tables)
        {
            table.Dispose();
        }
    }

    /// <summary>[heads, headStride] of a row.</summary>
    private float* Queries(int row) =>
        _padsHeads ? _paddedQueries.Floats + (nint)row * _config.Heads * _config.HeadStride : _qkv + (nint)row * _qkvStride;

    private void WriteRow(int row, int worker)
    {
        int headDim = _config.HeadDim;
        int headStride = _config.HeadStride;
        float* qkv = _qkv + (nint)row * _qkvStride;
        float* queries = Queries(row);
        for (int head = 0; head < _config.Heads; head++)
        {
            PlaceHead(row, qkv + head * headDim, _weights.QueryNorm, queries + head * headStride);
        }

        if (!_writesKv)
        {
            return;
        }

        int position = _rows.Position(row);
        int page = _rows.Slice(row).Pages.Span[position / _pageTokens];
        byte* keyPlane = _rows.Pool.PagePointer(_rows.Layer, page);
        byte* valuePlane = keyPlane + _layout.PlaneBytes;
        float* keys = qkv + _config.QuerySize;
        float* values = keys + _config.KvSize;
        for (int head = 0; head < _config.KvHeads; head++)
        {
            nint slot = ((nint)head * _pageTokens + position % _pageTokens) * _layout.HeadBytes;
            byte* key = keyPlane + slot;
            byte* value = valuePlane + slot;
            if (_convertsKv)
            {
                float* placed = Widened(worker);
                PlaceHead(row, keys + head * headDim, _weights.KeyNorm, placed);
                KvElements.Narrow(_layout.DataType, placed, key, headStride);
                CopyPadded(values + head * headDim, placed);
                KvElements.Narrow(_layout.DataType, placed, value, headStride);
            }
            else
            {
                PlaceHead(row, keys + head * headDim, _weights.KeyNorm, (float*)key);
                CopyPadded(values + head * headDim, (float*)value);
            }
        }
    }

    /// <summary>Norms and rotates a head on its way to <paramref name="target"/>, which may be where it is.</summary>
    private void PlaceHead(int row, float* head, NativeBuffer? norm, float* target)
    {
        if (_padsHeads)
        {
            CopyPadded(head, target);
            head = target;
        }

        if (norm is not null)
        {
            RowKernels.RmsNorm(head, norm.Floats, head, _config.HeadDim, _config.NormEpsilon);
        }

        var table = _tableOfLayer[_rows.Layer];
        RowKernels.Rotate(head, table.Cos(row), table.Sin(row), target, table.Pairs);
        int rotated = 2 * table.Pairs;
        if (head != target && rotated < _config.HeadDim)
        {
            new ReadOnlySpan<float>(head + rotated, _config.HeadDim - rotated).CopyTo(new Span<float>(target + rotated, _config.HeadDim - rotated));
        }
    }

    private void CopyPadded(float* head, float* target)
    {
        new ReadOnlySpan<float>(head, _config.HeadDim).CopyTo(new Span<float>(target, _config.HeadDim));
        new Span<float>(target + _config.HeadDim, _config.HeadStride - _config.HeadDim).Clear();
    }

    /// <summary>
    /// Attention of a tile's rows for the query heads that share one key/value head, page by page: all of them take turns on a page while it is in
    /// the first-level cache. What a row sees of a page is a run of its own, and how runs are cut changes no bits. Item: tile * kvHeads + kvHead.
    /// </summary>
    private void AttendTile(int item, int worker)
    {
        var (firstRow, rows) = _rows.Tile(item / _config.KvHeads);
        int kvHead = item % _config.KvHeads;
        int headDim = _config.HeadStride;
        int group = _config.GroupSize;
        var (tileBegin, tileEnd) = (Visible(firstRow).Begin, Visible(firstRow + rows - 1).End);
        var pages = _rows.Slice(firstRow).Pages.Span;
        nint headOffset = (nint)kvHead * _pageTokens * _layout.HeadBytes;
        nint rowScores = (nint)group * _scoreStride;
        float* scores = _scores.Floats + worker * StepRows.TileRows * rowScores;

        for (int t = tileBegin; t < tileEnd;)
        {
            int count = RunLength(t, tileEnd);
            float* keys = Cached(pages[t / _pageTokens], headOffset, t, count, worker);
            nint ahead = Ahead(pages, headOffset, t, t + count, rows == 1 ? tileEnd : 0);
            for (int r = 0; r < rows; r++)
            {
                var (begin, end) = Visible(firstRow + r);
                int first = Math.Max(t, begin);
                AttentionKernels.Scores(
                    Queries(firstRow + r) + kvHead * group * headDim,
                    group,
                    keys + (nint)(first - t) * headDim,
                    Math.Min(t + count, end) - first,
                    headDim,
                    _config.AttentionScale,
                    scores + r * rowScores + (first - begin),
                    _scoreStride,
                    ahead);
            }

            t += count;
        }

        float* sums = stackalloc float[rows * group];
        for (int r = 0; r < rows; r++)
        {
            var (begin, end) = Visible(firstRow + r);
            for (int g = 0; g < group; g++)
            {
                float* weights = scores + r * rowScores + (nint)g * _scoreStride;
                if (_config.AttentionSoftCap is { } cap)
                {
                    RowKernels.SoftCap(weights, cap, end - begin);
                }

                sums[r * group + g] = AttentionKernels.Exponentials(weights, end - begin);
            }

            new Span<float>(Outputs(firstRow, r, kvHead, worker), group * headDim).Clear();
        }

        for (int t = tileBegin; t < tileEnd;)
        {
            int count = RunLength(t, tileEnd);
            float* values = Cached(pages[t / _pageTokens], _layout.PlaneBytes + headOffset, t, count, worker);
            nint ahead = Ahead(pages, headOffset, t, t + count, rows == 1 ? tileEnd : 0);
            for (int r = 0; r < rows; r++)
            {
                var (begin, end) = Visible(firstRow + r);
                int first = Math.Max(t, begin);
                AttentionKernels.Accumulate(
                    scores + r * rowScores + (first - begin),
                    _scoreStride,
                    group,
                    values + (nint)(first - t) * headDim,
                    Math.Min(t + count, end) - first,
                    headDim,
                    Outputs(firstRow, r, kvHead, worker),
                    ahead);
            }

            t += count;
        }

        for (int r = 0; r < rows; r++)
        {
            float* outputs = Outputs(firstRow, r, kvHead, worker);
            float* finalOutputs = FinalOutputs(firstRow + r, kvHead);
            for (int g = 0; g < group; g++)
            {
                AttentionKernels.Divide(outputs + g * headDim, sums[r * group + g], headDim);
                if (_padsHeads)
                {
                    new ReadOnlySpan<float>(outputs + g * headDim, _config.HeadDim).CopyTo(new Span<float>(finalOutputs + g * _config.HeadDim, _config.HeadDim));
                }
            }
        }
    }

    /// <summary>The positions that a row attends to: [begin, end).</summary>
    private (int Begin, int End) Visible(int row)
    {
        int end = _rows.Position(row) + 1;
        int window = _config.Blocks[_rows.Layer].Window;
        return (window >= end ? 0 : end - window, end);
    }

    /// <summary>[heads of a group, headStride]: where row <paramref name="r"/> of a tile is summed, which is where it stays unless heads are padded.</summary>
    private float* Outputs(int firstRow, int r, int kvHead, int worker) => _padsHeads
        ? _paddedOutputs.Floats + (nint)(worker * StepRows.TileRows + r) * _config.GroupSize * _config.HeadStride
        : FinalOutputs(firstRow + r, kvHead);

    private float* FinalOutputs(int row, int kvHead) => _outputs + (nint)row * _outputStride + kvHead * _config.GroupSize * _config.HeadDim;

    /// <summary>Tokens from <paramref name="position"/> on that lie in one page and are computed with at a time.</summary>
    private int RunLength(int position, int end)
    {
        int count = Math.Min(end - position, _pageTokens - position % _pageTokens);
        return _convertsKv ? Math.Min(count, WidenedTokens) : count;
    }

    /// <summary>
    /// How many bytes behind the run from <paramref name="position"/> on the one from <paramref name="next"/> on lies. 0 where none is left before
    /// <paramref name="end"/>, or runs are widened first: computing with those takes longer than reading them.
    /// </summary>
    private nint Ahead(ReadOnlySpan<int> pages, nint headOffset, int position, int next, int end) => next >= end || _convertsKv
        ? 0
        : (nint)(Cached(pages[next / _pageTokens], headOffset, next, 0, 0) - Cached(pages[position / _pageTokens], headOffset, position, 0, 0)) * sizeof(float);

    /// <summary>[count, headStride] of keys or values as f32: where they are, or the worker's widened copy, which the next call overwrites.</summary>
    /// <param name="offset">Bytes from the page's start to the head's plane.</param>
    private float* Cached(int page, nint offset, int position, int count, int worker)
    {
        byte* source = _rows.Pool.PagePointer(_rows.Layer, page) + offset + (nint)(position % _pageTokens) * _layout.HeadBytes;
        if (!_convertsKv)
        {
            return (float*)source;
        }

        float* widened = Widened(worker);
        KvElements.Widen(_layout.DataType, source, widened, count * _layout.HeadDim);
        return widened;
    }

    private float* Widened(int worker) => _widened.Floats + (nint)worker * WidenedTokens * _config.HeadStride;
}
