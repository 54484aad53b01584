using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// The part of a block between its projections: norms and rotates queries and keys, writes keys and values to their pages, and attends to the
/// pages. Keys of every position stay in their page; a window only says which of them are read. Heads that are no whole vectors are padded with zeros on
/// the way. What all rows of a large tile see is computed as matrix products (<see cref="AttentionTiles"/>), the rest row by row (<see cref="AttentionKernels"/>), to the same bits.
/// </summary>
internal sealed unsafe class AttentionStep : IDisposable
{
    private const int RunTokens = AttentionTiles.RunTokens;

    /// <summary>Queries of a tile, and the memory for their scores, that more would not make faster: a page is read for all of them.</summary>
    private const int MostQueries = 48, ScoreBytes = 16 << 20;

    private readonly DecoderConfig _config;
    private readonly StepRows _rows;
    private readonly KvRuns _runs;
    private readonly WorkerTeam _team;
    private readonly KvLayout _layout;
    private readonly int _pageTokens;
    private readonly int _qkvStride;
    private readonly int _outputStride;
    private readonly int _scoreStride;
    private readonly int _tileRows;
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

    /// <summary>[threads, rows of a tile, heads of a group, headStride]: sums of values. Rows of the outputs lie too far apart, and in the same places of a cache.</summary>
    private readonly NativeBuffer _valueSums;

    /// <summary>[threads, PackedFloats]: the queries of a tile, as <see cref="AttentionTiles"/> reads them.</summary>
    private readonly NativeBuffer _packedQueries;

    /// <summary>[threads, headStride, RunTokens]: keys of a run.</summary>
    private readonly NativeBuffer _columns;

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
        _scoreStride = ScoreStride(config);
        _tileRows = MaxTileRows(config);
        var ropes = config.Blocks.Select(block => block.Rope).Distinct().ToList();
        _tables = [.. ropes.Select(rope => new RopeTable(rope, maxRows))];
        _tableOfLayer = [.. config.Blocks.Select(block => _tables[ropes.IndexOf(block.Rope)])];
        _scores = NativeBuffer.OfFloats((long)team.Threads * _tileRows * config.GroupSize * _scoreStride);
        _padsHeads = config.HeadStride != config.HeadDim;
        _paddedQueries = NativeBuffer.OfFloats(_padsHeads ? (long)maxRows * config.Heads * config.HeadStride : 0);
        _valueSums = NativeBuffer.OfFloats((long)team.Threads * _tileRows * config.GroupSize * config.HeadStride);
        _convertsKv = layout.DataType != KvDataType.Float32;
        _runs = new KvRuns(rows, layout, team.Threads, _convertsKv);
        _packedQueries = NativeBuffer.OfFloats((long)team.Threads * PackedFloats);
        _columns = NativeBuffer.OfFloats((long)team.Threads * RunTokens * config.HeadStride);
        _writeRow = WriteRow;
        _attendTile = AttendTile;
    }

    /// <summary>Most rows that <see cref="StepRows"/> may put into a tile.</summary>
    public static int MaxTileRows(DecoderConfig config)
    {
        int queries = Math.Min(MostQueries, ScoreBytes / sizeof(float) / ScoreStride(config));
        return Math.Max(StepRows.LeastTileRows, queries / config.GroupSize / StepRows.LeastTileRows * StepRows.LeastTileRows);
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
        _valueSums.Dispose();
        _runs.Dispose();
        _packedQueries.Dispose();
        _columns.Dispose();
        foreach (var table in _tables)
        {
            table.Dispose();
        }
    }

    private int PackedFloats => (_tileRows * _config.GroupSize + AttentionTiles.TileQueries - 1) / AttentionTiles.TileQueries * AttentionTiles.TileQueries * _config.HeadStride;

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
                float* placed = _runs.Memory(worker);
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
    /// Attention of a tile's rows for the query heads that share one key/value head, run by run: all of them take turns on a run while it is in
    /// the first-level cache. What a row sees of a run is a run of its own, and how runs are cut changes no bits. Item: tile * kvHeads + kvHead.
    /// </summary>
    private void AttendTile(int item, int worker)
    {
        var (firstRow, rows) = _rows.Tile(item / _config.KvHeads);
        int kvHead = item % _config.KvHeads;
        int headDim = _config.HeadStride;
        int group = _config.GroupSize;
        var (tileBegin, commonEnd) = Visible(firstRow);
        var (commonBegin, tileEnd) = Visible(firstRow + rows - 1);
        bool wide = rows * group >= AttentionTiles.LeastQueries && commonEnd - commonBegin >= RunTokens;
        if (!wide)
        {
            (commonBegin, commonEnd) = (tileEnd, tileEnd);
        }

        // Scores behind what a row sees are computed and not used: they need no care. Values there may be anything.
        ScoreRows(firstRow, rows, kvHead, tileBegin, commonBegin, worker);
        if (wide)
        {
            ScoreTile(firstRow, rows, kvHead, commonBegin, tileEnd, worker);
        }

        float* sums = stackalloc float[rows * group];
        for (int r = 0; r < rows; r++)
        {
            var (begin, end) = Visible(firstRow + r);
            for (int g = 0; g < group; g++)
            {
                float* weights = Scores(r, worker) + (nint)g * _scoreStride;
                if (_config.AttentionSoftCap is { } cap)
                {
                    RowKernels.SoftCap(weights, cap, end - begin);
                }

                sums[r * group + g] = AttentionKernels.Exponentials(weights, end - begin);
            }

            new Span<float>(ValueSums(r, worker), group * headDim).Clear();
        }

        AccumulateRows(firstRow, rows, kvHead, tileBegin, commonBegin, worker);
        if (wide)
        {
            AccumulateTile(firstRow, rows, kvHead, commonBegin, commonEnd, worker);
            AccumulateRows(firstRow, rows, kvHead, commonEnd, tileEnd, worker);
        }

        for (int r = 0; r < rows; r++)
        {
            float* valueSums = ValueSums(r, worker);
            float* outputs = _outputs + (nint)(firstRow + r) * _outputStride + kvHead * group * _config.HeadDim;
            for (int g = 0; g < group; g++)
            {
                AttentionKernels.Divide(valueSums + g * headDim, sums[r * group + g], headDim);
                new ReadOnlySpan<float>(valueSums + g * headDim, _config.HeadDim).CopyTo(new Span<float>(outputs + g * _config.HeadDim, _config.HeadDim));
            }
        }
    }

    /// <summary>Scores of the tokens [from, to), as far as each row sees them.</summary>
    private void ScoreRows(int firstRow, int rows, int kvHead, int from, int to, int worker)
    {
        int headDim = _config.HeadStride;
        int group = _config.GroupSize;
        var pages = _rows.Slice(firstRow).Pages.Span;
        nint headOffset = _runs.KeyOffset(kvHead);
        for (int t = from; t < to;)
        {
            int count = _runs.Length(t, to);
            float* keys = _runs.Cached(pages[t / _pageTokens], headOffset, t, count, worker);
            nint ahead = _runs.Ahead(pages, headOffset, t, t + count, rows == 1 ? to : 0);
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
                    Scores(r, worker) + (first - begin),
                    _scoreStride,
                    ahead);
            }

            t += count;
        }
    }

    /// <summary>Adds the values of the tokens [from, to), as far as each row sees them.</summary>
    private void AccumulateRows(int firstRow, int rows, int kvHead, int from, int to, int worker)
    {
        int headDim = _config.HeadStride;
        var pages = _rows.Slice(firstRow).Pages.Span;
        nint headOffset = _runs.ValueOffset(kvHead);
        for (int t = from; t < to;)
        {
            int count = _runs.Length(t, to);
            float* values = _runs.Cached(pages[t / _pageTokens], headOffset, t, count, worker);
            nint ahead = _runs.Ahead(pages, headOffset, t, t + count, rows == 1 ? to : 0);
            for (int r = 0; r < rows; r++)
            {
                var (begin, end) = Visible(firstRow + r);
                int first = Math.Max(t, begin);
                AttentionKernels.Accumulate(
                    Scores(r, worker) + (first - begin),
                    _scoreStride,
                    _config.GroupSize,
                    values + (nint)(first - t) * headDim,
                    Math.Min(t + count, end) - first,
                    headDim,
                    ValueSums(r, worker),
                    ahead);
            }

            t += count;
        }
    }

    /// <summary>Scores of the tokens [from, to), of which no row's window leaves out the first ones.</summary>
    private void ScoreTile(int firstRow, int rows, int kvHead, int from, int to, int worker)
    {
        int group = _config.GroupSize;
        float* queries = _packedQueries.Floats + (nint)worker * PackedFloats;
        Span<nint> scores = stackalloc nint[rows * group];
        float* columns = _columns.Floats + (nint)worker * RunTokens * _config.HeadStride;
        for (int i = 0; i < scores.Length; i++)
        {
            int row = firstRow + i / group;
            AttentionTiles.Pack(Queries(row) + (kvHead * group + i % group) * _config.HeadStride, i, _config.HeadStride, queries);
            scores[i] = (nint)(Scores(i / group, worker) + (nint)(i % group) * _scoreStride + (from - Visible(row).Begin));
        }

        for (int t = from; t < to; t += RunTokens)
        {
            int count = Math.Min(RunTokens, to - t);
            AttentionTiles.Transpose(_runs.Copy(_rows.Slice(firstRow).Pages.Span, _runs.KeyOffset(kvHead), t, count, worker), count, _config.HeadStride, columns);
            AttentionTiles.Scores(queries, columns, count, _config.HeadStride, _config.AttentionScale, scores);
            Move(scores, RunTokens);
        }
    }

    /// <summary>Adds the values of the tokens [from, to), all of which every row sees.</summary>
    private void AccumulateTile(int firstRow, int rows, int kvHead, int from, int to, int worker)
    {
        int group = _config.GroupSize;
        Span<nint> weights = stackalloc nint[rows * group];
        Span<nint> outputs = stackalloc nint[rows * group];
        for (int i = 0; i < weights.Length; i++)
        {
            weights[i] = (nint)(Scores(i / group, worker) + (nint)(i % group) * _scoreStride + (from - Visible(firstRow + i / group).Begin));
            outputs[i] = (nint)(ValueSums(i / group, worker) + i % group * _config.HeadStride);
        }

        for (int t = from; t < to; t += RunTokens)
        {
            int count = Math.Min(RunTokens, to - t);
            AttentionTiles.Accumulate(weights, _runs.Copy(_rows.Slice(firstRow).Pages.Span, _runs.ValueOffset(kvHead), t, count, worker), count, _config.HeadStride, outputs);
            Move(weights, RunTokens);
        }
    }

    private static void Move(Span<nint> rows, int floats)
    {
        foreach (ref nint row in rows)
        {
            row += floats * sizeof(float);
        }
    }

    /// <summary>The positions that a row attends to: [begin, end).</summary>
    private (int Begin, int End) Visible(int row)
    {
        int end = _rows.Position(row) + 1;
        int window = _config.Blocks[_rows.Layer].Window;
        return (window >= end ? 0 : end - window, end);
    }

    /// <summary>[heads of a group, headStride] of row <paramref name="r"/> of a tile.</summary>
    private float* ValueSums(int r, int worker) => _valueSums.Floats + (nint)(worker * _tileRows + r) * _config.GroupSize * _config.HeadStride;

    /// <summary>[heads of a group, scoreStride] of row <paramref name="r"/> of a tile.</summary>
    private float* Scores(int r, int worker) => _scores.Floats + (nint)(worker * _tileRows + r) * _config.GroupSize * _scoreStride;

    private static int ScoreStride(DecoderConfig config) => DecoderStep.Padded(config.ContextLength) + AttentionTiles.TileTokens;
}
