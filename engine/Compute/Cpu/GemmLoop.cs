using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Shares matrix products among the team's threads in blocks of columns, and of rows where there are many. Blocks are claimed as threads
/// become free; how the products are cut does not change their results.
/// </summary>
internal sealed unsafe class GemmLoop : IDisposable
{
    /// <summary>A multiple of the row tile; a block's inputs should fit the second-level cache.</summary>
    private const int BlockRows = 96;

    /// <summary>
    /// Panels of the last blocks of few rows, as many as all threads' largest blocks have together: threads wait for each other at the end, but not long.
    /// </summary>
    private const int LastPanels = 2;

    private readonly WorkerTeam _team;
    private readonly GemmKernels _kernels;
    private readonly SumRelay.Place? _relay;
    private readonly Action<int, int> _multiplyBlock;
    private readonly Action<int, int> _writeInt8Row;
    private readonly Group[] _groups;

    /// <summary>Rows as <see cref="Int8Inputs"/> has them.</summary>
    private readonly NativeBuffer _int8Inputs;

    private int _groupCount;
    private int _items;
    private int _rows;
    private int _width;
    private PanelFormat _format;
    private float* _inputs;
    private int _inputStride;
    private float* _outputs;
    private int _outputStride;
    private bool _exactOutputs;
    private bool _summed;

    /// <param name="relay">Where several ranks have the inputs of some products; see <see cref="Add"/>.</param>
    /// <param name="maxGroups">Most products of one run.</param>
    /// <param name="int8Bytes">Most bytes that <see cref="Int8Inputs"/> of a run take; 0 if no matrix is in int8.</param>
    public GemmLoop(WorkerTeam team, GemmKernels kernels, SumRelay.Place? relay, int maxGroups = 1, long int8Bytes = 0)
    {
        _relay = relay;
        _team = team;
        _kernels = kernels;
        _groups = new Group[maxGroups];
        _int8Inputs = new NativeBuffer(int8Bytes);
        _multiplyBlock = MultiplyBlock;
        _writeInt8Row = WriteInt8Row;
    }

    private int Int8RowBytes => Int8Inputs.RowBytes(_width);

    /// <summary>Most blocks of a run of products of this many outputs with as many rows in all.</summary>
    public static int MaxBlocks(int outputs, int rows, int groups) =>
        ((outputs + PackedMatrix.PanelOutputs - 1) / PackedMatrix.PanelOutputs / LastPanels + 2) * (rows / BlockRows + groups);

    /// <summary>outputs = inputs * weights^T + bias; see <see cref="GemmBlock"/> for the paddings.</summary>
    public void Multiply(
        PackedMatrix matrix, float* inputs, int inputStride, int rows, float* outputs, int outputStride, bool exactOutputs = false, bool summed = false)
    {
        Add(matrix, 0, rows, summed);
        Run(inputs, inputStride, outputs, outputStride, exactOutputs);
    }

    /// <summary>
    /// Adds a product of rows [<paramref name="firstRow"/>, firstRow + <paramref name="rows"/>) to the next <see cref="Run"/>. Matrices of one run have
    /// one format and as many inputs.
    /// </summary>
    /// <param name="summed">
    /// This rank has some of the inputs: the outputs, which all ranks share, become the sum over all. The same of all products of a run, and all ranks run the same.
    /// </param>
    public void Add(PackedMatrix matrix, int firstRow, int rows, bool summed = false)
    {
        _summed = summed && _relay is not null;
        int blockPanels = _team.Threads == 1 && rows < BlockRows && !_summed ? matrix.PanelCount : Math.Max(4, _kernels.PanelsAtOnce(matrix.Format));
        int rowBlocks = (rows + BlockRows - 1) / BlockRows;
        int lastPanels = (_team.Threads > 1 || _summed) && rowBlocks == 1 ? Math.Min(LastPanels, blockPanels) : blockPanels;
        int largeBlocks = Math.Max(0, matrix.PanelCount - (lastPanels < blockPanels ? _team.Threads * blockPanels : 0)) / blockPanels;
        var group = new Group(matrix, firstRow, rows, rowBlocks, blockPanels, largeBlocks, lastPanels, _items);
        _groups[_groupCount++] = group;
        _items += (largeBlocks + (matrix.PanelCount - group.LargePanels + lastPanels - 1) / lastPanels) * rowBlocks;
        _rows = Math.Max(_rows, firstRow + rows);
        (_format, _width) = (matrix.Format, matrix.Inputs);
    }

    /// <summary>Computes the products added since the last run, all in one loop, each on its own rows.</summary>
    public void Run(float* inputs, int inputStride, float* outputs, int outputStride, bool exactOutputs = false)
    {
        _inputs = inputs;
        _inputStride = inputStride;
        _outputs = outputs;
        _outputStride = outputStride;
        _exactOutputs = exactOutputs;
        try
        {
            if (_format == PanelFormat.Int8)
            {
                _team.For(_rows, _writeInt8Row);
            }

            if (_summed)
            {
                _relay!.Begin(_items);
            }

            _team.For(_items, _multiplyBlock);
            if (_summed)
            {
                _relay!.End();
            }
        }
        finally
        {
            _groupCount = 0;
            _items = 0;
            _rows = 0;
        }
    }

    public void Dispose() => _int8Inputs.Dispose();

    private void WriteInt8Row(int row, int worker) =>
        Int8Inputs.Write(_inputs + (nint)row * _inputStride, _width, _int8Inputs.Pointer + (nint)row * Int8RowBytes);

    private void MultiplyBlock(int item, int worker)
    {
        ref readonly var group = ref GroupOf(item);
        int block = item - group.FirstItem;
        int row = block % group.RowBlocks * BlockRows;
        int column = block / group.RowBlocks;
        int panel = Math.Min(column, group.LargeBlocks) * group.BlockPanels + Math.Max(0, column - group.LargeBlocks) * group.LastPanels;
        bool int8 = _format == PanelFormat.Int8;
        nint inputStride = int8 ? Int8RowBytes : (nint)_inputStride * sizeof(float);
        if (_summed)
        {
            _relay!.Take(item);
        }

        _kernels.Multiply(new GemmBlock
        {
            Matrix = group.Matrix,
            Inputs = (int8 ? _int8Inputs.Pointer : (byte*)_inputs) + (group.FirstRow + row) * inputStride,
            InputStride = inputStride,
            Rows = Math.Min(BlockRows, group.Rows - row),
            FirstPanel = panel,
            Panels = Math.Min(column < group.LargeBlocks ? group.BlockPanels : group.LastPanels, group.Matrix.PanelCount - panel),
            Outputs = _outputs + (nint)(group.FirstRow + row) * _outputStride,
            OutputStride = _outputStride,
            ExactOutputs = _exactOutputs,
            Continues = _summed && _relay!.Continues,
        });
        if (_summed)
        {
            _relay!.Pass(item);
        }
    }

    private ref readonly Group GroupOf(int item)
    {
        int group = _groupCount - 1;
        while (_groups[group].FirstItem > item)
        {
            group--;
        }

        return ref _groups[group];
    }

    /// <param name="LargeBlocks">The first blocks, of <paramref name="BlockPanels"/>; the others are of <paramref name="LastPanels"/>.</param>
    private readonly record struct Group(
        PackedMatrix Matrix, int FirstRow, int Rows, int RowBlocks, int BlockPanels, int LargeBlocks, int LastPanels, int FirstItem)
    {
        public int LargePanels => LargeBlocks * BlockPanels;
    }
}
