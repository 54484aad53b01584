using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>The tokens of the step under way, one a row: the slices' tokens, slice after slice.</summary>
internal sealed class StepRows(int maxRows)
{
    private readonly StepSlice[] _slices = new StepSlice[maxRows];
    private readonly int[] _sliceOfRow = new int[maxRows];
    private readonly int[] _positions = new int[maxRows];
    private int _sliceCount;

    public int Count { get; private set; }

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
    }

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
    }

    /// <summary>Lets go of the callers' memory.</summary>
    public void Clear()
    {
        _slices.AsSpan(0, _sliceCount).Clear();
        Pool = null!;
    }
}
