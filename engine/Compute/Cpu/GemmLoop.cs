using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Shares matrix products among the team's threads: with few rows in runs of neighbouring panels, which a thread reads one after the other, else in blocks of panels and
/// rows. How the products are cut does not change their results.
/// </summary>
internal sealed unsafe class GemmLoop : IDisposable
{
    /// <summary>Most rows of a block, a multiple of the row tile; its inputs should fit the second-level cache.</summary>
    private const int BlockRows = 96;

    /// <summary>Panels of an item where computing takes no longer than reading: fewer keep the memory less busy, more let threads wait for each other at the end.</summary>
    private const int ReadPanels = 2;

    /// <summary>Rows up to which that is so.</summary>
    private const int ReadRows = 2;

    private readonly WorkerTeam _team;
    private readonly GemmKernels _kernels;
    private readonly SumRelay.Place? _relay;
    private readonly Action<int, int, int> _multiplyRun;
    private readonly Action<int, int> _writeInt8Row;
    private readonly Group[] _groups;

    /// <summary>Rows as <see cref="Int8Inputs"/> has them.</summary>
    private readonly NativeBuffer _int8Inputs;

    private int _groupCount;
    private int _items;
    private int _runItems = 1;
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
        _multiplyRun = MultiplyRun;
        _writeInt8Row = WriteInt8Row;
    }

    private int Int8RowBytes => Int8Inputs.RowBytes(_width);

    /// <summary>Most items of a run of products of this many outputs with as many rows in all.</summary>
    public static int MaxItems(int outputs, int rows, int groups) =>
        (outputs + PackedMatrix.PanelOutputs - 1) / PackedMatrix.PanelOutputs * (rows / BlockRows + groups);

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
        int atOnce = _kernels.PanelsAtOnce(matrix.Format);
        int rowBlocks = (rows + BlockRows - 1) / BlockRows;
        int itemPanels = rowBlocks > 1 ? atOnce : rows <= ReadRows || _summed ? ReadPanels : 1;
        _groups[_groupCount++] = new Group(matrix, firstRow, rows, rowBlocks, itemPanels, _items);
        _items += (matrix.PanelCount + itemPanels - 1) / itemPanels * rowBlocks;
        _runItems = Math.Max(_runItems, rowBlocks > 1 ? 1 : atOnce / itemPanels);
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

            _team.ForRuns(_items, _runItems, _multiplyRun);
            if (_summed)
            {
                _relay!.End();
            }
        }
        finally
        {
            _groupCount = 0;
            _items = 0;
            _runItems = 1;
            _rows = 0;
        }
    }

    public void Dispose() => _int8Inputs.Dispose();

    private void WriteInt8Row(int row, int worker) =>
        Int8Inputs.Write(_inputs + (nint)row * _inputStride, _width, _int8Inputs.Pointer + (nint)row * Int8RowBytes);

    private void MultiplyRun(int first, int count, int worker)
    {
        for (int end = first + count; first < end; first += count)
        {
            ref readonly var group = ref GroupOf(first);
            int item = first - group.FirstItem;
            count = group.RowBlocks > 1 ? 1 : Math.Min(end - first, group.Items - item);
            if (_summed)
            {
                // A thread without others would keep the next rank waiting for all of them.
                count = Math.Min(count, _runItems);
                TakeAndPass(group, item, first, count);
            }
            else
            {
                Multiply(group, item, count, continues: false);
            }
        }
    }

    private void TakeAndPass(in Group group, int item, int first, int count)
    {
        for (int i = 0; i < count; i++)
        {
            _relay!.Take(first + i);
        }

        Multiply(group, item, count, _relay!.Continues);
        for (int i = 0; i < count; i++)
        {
            _relay!.Pass(first + i);
        }
    }

    /// <summary>Neighbouring items of a group, one if it has several blocks of rows.</summary>
    private void Multiply(in Group group, int item, int count, bool continues)
    {
        int row = item % group.RowBlocks * group.BlockRows;
        int panel = item / group.RowBlocks * group.ItemPanels;
        int panels = Math.Min(count * group.ItemPanels, group.Matrix.PanelCount - panel);
        bool int8 = _format == PanelFormat.Int8;
        nint inputStride = int8 ? Int8RowBytes : (nint)_inputStride * sizeof(float);
        _kernels.Multiply(new GemmBlock
        {
            Matrix = group.Matrix,
            Inputs = (int8 ? _int8Inputs.Pointer : (byte*)_inputs) + (group.FirstRow + row) * inputStride,
            InputStride = inputStride,
            Rows = Math.Min(group.BlockRows, group.Rows - row),
            FirstPanel = panel,
            Panels = panels,
            MoreFollow = group.RowBlocks == 1 && panel + panels < group.Matrix.PanelCount,
            Outputs = _outputs + (nint)(group.FirstRow + row) * _outputStride,
            OutputStride = _outputStride,
            ExactOutputs = _exactOutputs,
            Continues = continues,
        });
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

    /// <param name="RowBlocks">Items that share the same panels and lie next to each other, each with other rows.</param>
    /// <param name="ItemPanels">Panels of an item; the last may have fewer.</param>
    private readonly record struct Group(PackedMatrix Matrix, int FirstRow, int Rows, int RowBlocks, int ItemPanels, int FirstItem)
    {
        /// <summary>Rows of a block: all have as many, but for the last.</summary>
        public int BlockRows => (Rows + RowBlocks * IGemmTiles.MaxRows - 1) / (RowBlocks * IGemmTiles.MaxRows) * IGemmTiles.MaxRows;

        public int Items => (Matrix.PanelCount + ItemPanels - 1) / ItemPanels * RowBlocks;
    }
}
