namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>A block of a product, as a worker takes it: some rows by some panels, over all inputs.</summary>
internal unsafe struct GemmBlock
{
    public PackedMatrix Matrix;

    /// <summary>[rows, InputStride], each row padded with zeros to an even number of inputs.</summary>
    public float* Inputs;
    public int InputStride;
    public int Rows;

    public int FirstPanel;
    public int Panels;

    /// <summary>
    /// [rows, OutputStride], at the first row of the block and output 0 of the matrix. Rows must be padded to whole panels, unless
    /// <see cref="ExactOutputs"/>.
    /// </summary>
    public float* Outputs;
    public int OutputStride;

    /// <summary>Write no element past the matrix's last output.</summary>
    public bool ExactOutputs;
}

/// <summary>Matrix products on one vector width. Stateless; the results are the same bits for every width.</summary>
internal abstract class GemmKernels
{
    /// <summary>Panels that a kernel for one row covers at once: blocks are best a multiple of this.</summary>
    public abstract int PanelsAtOnce { get; }

    public static GemmKernels For(VectorWidth width) => width switch
    {
        VectorWidth.Vector512 => new GemmKernels<Lanes16, System.Runtime.Intrinsics.Vector512<float>>(),
        VectorWidth.Vector256 => new GemmKernels<Lanes8, System.Runtime.Intrinsics.Vector256<float>>(),
        VectorWidth.Vector128 => new GemmKernels<Lanes4, System.Runtime.Intrinsics.Vector128<float>>(),
        VectorWidth.Scalar => new GemmKernels<Lanes1, float>(),
        _ => throw new ArgumentOutOfRangeException(nameof(width)),
    };

    /// <summary>outputs[r, o] = bias[o] + sum over i of inputs[r, i] * weights[o, i], summed in ascending i.</summary>
    public abstract void Multiply(in GemmBlock block);
}

internal sealed unsafe class GemmKernels<TLanes, TVector> : GemmKernels
    where TLanes : struct, ILanes<TVector>
    where TVector : unmanaged
{
    /// <summary>Rows from which weights are reused enough to be worth keeping in the first-level cache.</summary>
    private const int BlockingRows = 12;

    /// <summary>Inputs of a run: 16 outputs by 256 inputs of f32 are 16 KiB, half of a first-level cache.</summary>
    private const int BlockingPairs = 128;

    private const int MaxTileRows = 6;

    public override int PanelsAtOnce => Math.Max(1, 8 * TLanes.Count / PackedMatrix.PanelOutputs);

    public override void Multiply(in GemmBlock block)
    {
        if (block.Matrix.Format == PanelFormat.Float32)
        {
            Multiply<Float32Panel>(block);
        }
        else
        {
            Multiply<BFloat16Panel>(block);
        }
    }

    private static void Multiply<TPanel>(in GemmBlock block)
        where TPanel : struct, IPanelReader
    {
        int wholePanels = block.Panels;
        bool ragged = block.ExactOutputs
            && block.FirstPanel + block.Panels == block.Matrix.PanelCount
            && block.Matrix.Outputs % PackedMatrix.PanelOutputs != 0;
        if (ragged)
        {
            wholePanels--;
            MultiplyLastPanel<TPanel>(block);
        }

        if (wholePanels > 0)
        {
            int column = block.FirstPanel * PackedMatrix.PanelOutputs;
            MultiplyPanels<TPanel>(block, block.FirstPanel, wholePanels, block.Inputs, block.Rows, block.Outputs + column, block.OutputStride);
        }
    }

    /// <summary>The matrix's last, partly filled panel, by way of a buffer of whole panels.</summary>
    private static void MultiplyLastPanel<TPanel>(in GemmBlock block)
        where TPanel : struct, IPanelReader
    {
        int panel = block.Matrix.PanelCount - 1;
        int column = panel * PackedMatrix.PanelOutputs;
        int outputs = block.Matrix.Outputs - column;
        float* whole = stackalloc float[MaxTileRows * PackedMatrix.PanelOutputs];
        for (int row = 0; row < block.Rows; row += MaxTileRows)
        {
            int rows = Math.Min(MaxTileRows, block.Rows - row);
            MultiplyPanels<TPanel>(block, panel, 1, block.Inputs + (nint)row * block.InputStride, rows, whole, PackedMatrix.PanelOutputs);
            for (int r = 0; r < rows; r++)
            {
                new ReadOnlySpan<float>(whole + r * PackedMatrix.PanelOutputs, outputs)
                    .CopyTo(new Span<float>(block.Outputs + (nint)(row + r) * block.OutputStride + column, outputs));
            }
        }
    }

    private static void MultiplyPanels<TPanel>(
        in GemmBlock block, int firstPanel, int panels, float* inputs, int rows, float* outputs, int outputStride)
        where TPanel : struct, IPanelReader
    {
        var matrix = block.Matrix;
        int allVectors = panels * PackedMatrix.PanelOutputs / TLanes.Count;
        int runPairs = rows >= BlockingRows ? BlockingPairs : matrix.Pairs;
        for (int pair = 0; pair < matrix.Pairs; pair += runPairs)
        {
            var tile = new GemmTile
            {
                InputStride = block.InputStride,
                PanelBytes = (nint)matrix.PanelBytes,
                Pairs = Math.Min(runPairs, matrix.Pairs - pair),
                OutputStride = outputStride,
                InitialStride = pair == 0 ? 0 : outputStride,
            };
            for (int row = 0; row < rows;)
            {
                // Large blocks: a strip of two vectors of weights stays in cache while all rows pass over it.
                int tileRows = rows >= BlockingRows ? rows : Math.Min(MaxTileRows, rows - row);
                int tileVectors = TileVectors(tileRows);
                for (int vector = 0; vector < allVectors; vector += tileVectors)
                {
                    int column = vector * TLanes.Count;
                    tile.Weights = matrix.Panels + (firstPanel + column / PackedMatrix.PanelOutputs) * matrix.PanelBytes
                        + column % PackedMatrix.PanelOutputs * 4 + (long)pair * TPanel.PairBytes;
                    tile.Vectors = Math.Min(tileVectors, allVectors - vector);
                    float* bias = matrix.Bias + (nint)firstPanel * PackedMatrix.PanelOutputs + column;
                    for (int r = row; r < row + tileRows; r += MaxTileRows)
                    {
                        tile.Rows = Math.Min(MaxTileRows, row + tileRows - r);
                        tile.Inputs = inputs + (nint)r * block.InputStride + (nint)pair * 2;
                        tile.Outputs = outputs + (nint)r * outputStride + column;
                        tile.Initial = pair == 0 ? bias : tile.Outputs;
                        Run<TPanel>(tile, tileVectors);
                    }
                }

                row += tileRows;
            }
        }
    }

    /// <summary>Vectors that the kernel for this many rows covers.</summary>
    private static int TileVectors(int rows) => rows switch
    {
        1 => 8,
        2 => 4,
        _ => 2,
    };

    private static void Run<TPanel>(in GemmTile tile, int tileVectors)
        where TPanel : struct, IPanelReader
    {
        if (tileVectors == 8)
        {
            GemmTiles<TLanes, TVector, TPanel>.Rows1(tile);
        }
        else if (tileVectors == 4)
        {
            GemmTiles<TLanes, TVector, TPanel>.Rows2(tile);
        }
        else if (tile.Rows <= 4)
        {
            GemmTiles<TLanes, TVector, TPanel>.Rows4(tile);
        }
        else
        {
            GemmTiles<TLanes, TVector, TPanel>.Rows6(tile);
        }
    }
}
