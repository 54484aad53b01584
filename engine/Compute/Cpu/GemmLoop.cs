using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Shares matrix products among the team's threads in blocks of columns, and of rows where there are many. Blocks are claimed as threads
/// become free; how the products are cut does not change their results.
/// </summary>
internal sealed unsafe class GemmLoop
{
    /// <summary>A multiple of the row tile; a block's inputs should fit the second-level cache.</summary>
    private const int BlockRows = 96;

    private readonly WorkerTeam _team;
    private readonly GemmKernels _kernels;
    private readonly Action<int, int> _multiplyBlock;
    private readonly Group[] _groups;

    private int _groupCount;
    private int _items;
    private float* _inputs;
    private int _inputStride;
    private float* _outputs;
    private int _outputStride;
    private bool _exactOutputs;

    /// <param name="maxGroups">Most products of one run.</param>
    public GemmLoop(WorkerTeam team, GemmKernels kernels, int maxGroups = 1)
    {
        _team = team;
        _kernels = kernels;
        _groups = new Group[maxGroups];
        _multiplyBlock = MultiplyBlock;
    }

    /// <summary>outputs = inputs * weights^T + bias; see <see cref="GemmBlock"/> for the paddings.</summary>
    public void Multiply(
        PackedMatrix matrix, float* inputs, int inputStride, int rows, float* outputs, int outputStride, bool exactOutputs = false)
    {
        Add(matrix, 0, rows);
        Run(inputs, inputStride, outputs, outputStride, exactOutputs);
    }

    /// <summary>Adds a product of rows [<paramref name="firstRow"/>, firstRow + <paramref name="rows"/>) to the next <see cref="Run"/>.</summary>
    public void Add(PackedMatrix matrix, int firstRow, int rows)
    {
        int blockPanels = _team.Threads == 1 && rows < BlockRows ? matrix.PanelCount : Math.Max(4, _kernels.PanelsAtOnce);
        int rowBlocks = (rows + BlockRows - 1) / BlockRows;
        _groups[_groupCount++] = new Group(matrix, firstRow, rows, rowBlocks, blockPanels, _items);
        _items += (matrix.PanelCount + blockPanels - 1) / blockPanels * rowBlocks;
    }

    /// <summary>Computes the products added since the last run, all in one loop, each on its own rows.</summary>
    public void Run(float* inputs, int inputStride, float* outputs, int outputStride, bool exactOutputs = false)
    {
        _inputs = inputs;
        _inputStride = inputStride;
        _outputs = outputs;
        _outputStride = outputStride;
        _exactOutputs = exactOutputs;
        int items = _items;
        try
        {
            _team.For(items, _multiplyBlock);
        }
        finally
        {
            _groupCount = 0;
            _items = 0;
        }
    }

    private void MultiplyBlock(int item, int worker)
    {
        ref readonly var group = ref GroupOf(item);
        int block = item - group.FirstItem;
        int row = block % group.RowBlocks * BlockRows;
        int panel = block / group.RowBlocks * group.BlockPanels;
        _kernels.Multiply(new GemmBlock
        {
            Matrix = group.Matrix,
            Inputs = _inputs + (nint)(group.FirstRow + row) * _inputStride,
            InputStride = _inputStride,
            Rows = Math.Min(BlockRows, group.Rows - row),
            FirstPanel = panel,
            Panels = Math.Min(group.BlockPanels, group.Matrix.PanelCount - panel),
            Outputs = _outputs + (nint)(group.FirstRow + row) * _outputStride,
            OutputStride = _outputStride,
            ExactOutputs = _exactOutputs,
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

    private readonly record struct Group(PackedMatrix Matrix, int FirstRow, int Rows, int RowBlocks, int BlockPanels, int FirstItem);
}
