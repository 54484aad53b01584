using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>The tokens of the step under way, one a row: the slices' tokens, slice after slice.</summary>
/// <param name="maxTileRows">Most rows of a tile; at least <see cref="LeastTileRows"/>.</param>
/// <param name="tileShares">Tiles that a step should have at least, if its rows are enough for them: what threads share.</param>
internal sealed class StepRows(int maxRows, int maxTileRows, int tileShares)
{
    /// <summary>Rows of a tile of a step that has not enough for larger ones.</summary>
    public const int LeastTileRows = 4;

    private readonly StepSlice[] _slices = new StepSlice[maxRows];
    private readonly int[] _sliceOfRow = new int[maxRows];
    private readonly int[] _positions = new int[maxRows];
    private readonly int[] _tiles = new int[maxRows + 1];
    private int _sliceCount;

    public int Count { get; private set; }

    /// <summary>Runs of neighbouring rows of one slice, in ascending positions: what they read of the KV cache is mostly the same.</summary>
    public int TileCount { get; private set; }

    public KvPool Pool { get; private set; } = null!;

    /// <summary>The block whose attention is being computed.</summary>
    public int Layer { get; set; }

    public void Place(ReadOnlySpan<StepSlice> slices, KvPool pool)
    {
        slices.CopyTo(_slices);
        _sliceCount = slices.Length;
        Pool = pool;
        Count = 0;
        for (int slice = 0; slice < slices.Length; slice++)
        {
            for (int i = 0; i < slices[slice].Count; i++)
            {
                _sliceOfRow[Count] = slice;
                _positions[Count++] = slices[slice].Position + i;
            }
        }

        PlaceTiles();
    }

    /// <summary>The first row of a tile and how many it has.</summary>
    public (int First, int Rows) Tile(int tile) => (_tiles[tile], _tiles[tile + 1] - _tiles[tile]);

    public ref readonly StepSlice Slice(int row) => ref _slices[_sliceOfRow[row]];

    public int Position(int row) => _positions[row];

    public int Token(int row)
    {
        ref readonly var slice = ref Slice(row);
        return slice.Tokens.Span[_positions[row] - slice.Position];
    }

    /// <summary>Drops the rows whose logits are not wanted and moves the others to the front, in order; <paramref name="move"/> is told (from, to).</summary>
    public void KeepThoseWithLogits(Action<int, int> move)
    {
        int kept = 0;
        for (int row = 0; row < Count; row++)
        {
            ref readonly var slice = ref Slice(row);
            if (!slice.WantsLogits || _positions[row] != slice.Position + slice.Count - 1)
            {
                continue;
            }

            if (row != kept)
            {
                move(row, kept);
            }

            _sliceOfRow[kept] = _sliceOfRow[row];
            _positions[kept++] = _positions[row];
        }

        Count = kept;
        PlaceTiles();
    }

    /// <summary>Lets go of the callers' memory.</summary>
    public void Clear()
    {
        _slices.AsSpan(0, _sliceCount).Clear();
        Pool = null!;
    }

    private void PlaceTiles()
    {
        int tileRows = Math.Clamp(Count / tileShares / LeastTileRows * LeastTileRows, LeastTileRows, maxTileRows);
        TileCount = 0;
        for (int row = 0; row < Count; row++)
        {
            if (row == 0 || row - _tiles[TileCount - 1] == tileRows || _sliceOfRow[row] != _sliceOfRow[row - 1])
            {
                _tiles[TileCount++] = row;
            }
        }

        _tiles[TileCount] = Count;
    }
}
