using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Shares a matrix product among the team's threads in blocks of columns, and of rows where there are many. Blocks are claimed as threads
/// become free; how the product is cut does not change its results.
/// </summary>
internal sealed unsafe class GemmLoop
{
    /// <summary>A multiple of the row tile; a block's inputs should fit the second-level cache.</summary>
    private const int BlockRows = 96;

    private readonly WorkerTeam _team;
    private readonly GemmKernels _kernels;
    private readonly Action<int, int> _multiplyBlock;

    private PackedMatrix _matrix = null!;
    private float* _inputs;
    private int _inputStride;
    private int _rows;
    private float* _outputs;
    private int _outputStride;
    private bool _exactOutputs;
    private int _rowBlocks;
    private int _blockPanels;

    public GemmLoop(WorkerTeam team, GemmKernels kernels)
    {
        _team = team;
        _kernels = kernels;
        _multiplyBlock = MultiplyBlock;
    }

    /// <summary>outputs = inputs * weights^T + bias; see <see cref="GemmBlock"/> for the paddings.</summary>
    public void Multiply(
        PackedMatrix matrix, float* inputs, int inputStride, int rows, float* outputs, int outputStride, bool exactOutputs = false)
    {
        _matrix = matrix;
        _inputs = inputs;
        _inputStride = inputStride;
        _rows = rows;
        _outputs = outputs;
        _outputStride = outputStride;
        _exactOutputs = exactOutputs;
        _rowBlocks = (rows + BlockRows - 1) / BlockRows;
        _blockPanels = _team.Threads == 1 && rows < BlockRows ? matrix.PanelCount : Math.Max(4, _kernels.PanelsAtOnce);
        int columnBlocks = (matrix.PanelCount + _blockPanels - 1) / _blockPanels;
        _team.For(columnBlocks * _rowBlocks, _multiplyBlock);
    }

    private void MultiplyBlock(int item, int worker)
    {
        int row = item % _rowBlocks * BlockRows;
        int panel = item / _rowBlocks * _blockPanels;
        _kernels.Multiply(new GemmBlock
        {
            Matrix = _matrix,
            Inputs = _inputs + (nint)row * _inputStride,
            InputStride = _inputStride,
            Rows = Math.Min(BlockRows, _rows - row),
            FirstPanel = panel,
            Panels = Math.Min(_blockPanels, _matrix.PanelCount - panel),
            Outputs = _outputs + (nint)row * _outputStride,
            OutputStride = _outputStride,
            ExactOutputs = _exactOutputs,
        });
    }
}
