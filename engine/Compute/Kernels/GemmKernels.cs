using System.Runtime.Intrinsics;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>A block of a product, as a worker takes it: some rows by some panels, over all inputs.</summary>
internal unsafe struct GemmBlock
{
    public PackedMatrix Matrix;

    /// <summary>
    /// Rows of inputs, <see cref="InputStride"/> bytes apart: f32, padded with zeros to an even number of inputs, or for a matrix in int8 what
    /// <see cref="Int8Inputs"/> makes of them.
    /// </summary>
    public byte* Inputs;
    public nint InputStride;
    public int Rows;

    public int FirstPanel;
    public int Panels;

    /// <summary>
    /// [rows, OutputStride], at the first row of the block and output 0 of the matrix. Rows must be padded to whole panels, unless
    /// <see cref="ExactOutputs"/>.
    /// </summary>
    public float* Outputs;
    public int OutputStride;

    /// <summary>The panels behind the block are likely the next that this thread computes.</summary>
    public bool MoreFollow;

    /// <summary>Write no element past the matrix's last output.</summary>
    public bool ExactOutputs;

    /// <summary>The sums go on from what <see cref="Outputs"/> has, instead of beginning with the bias. Not together with <see cref="ExactOutputs"/>.</summary>
    public bool Continues;
}

/// <summary>Matrix products on one vector width. Stateless; the results are the same bits for every width.</summary>
internal abstract class GemmKernels
{
    /// <summary>Panels that the kernel for one row covers at once: blocks are best a multiple of this.</summary>
    public abstract int PanelsAtOnce(PanelFormat format);

    public static GemmKernels For(VectorWidth width) => width switch
    {
        VectorWidth.Vector512 => new GemmKernels<Lanes16, Vector512<float>, Vector512<int>>(),
        VectorWidth.Vector256 => new GemmKernels<Lanes8, Vector256<float>, Vector256<int>>(),
        VectorWidth.Vector128 => new GemmKernels<Lanes4, Vector128<float>, Vector128<int>>(),
        VectorWidth.Scalar => new GemmKernels<Lanes1, float, int>(),
        _ => throw new ArgumentOutOfRangeException(nameof(width)),
    };

    /// <summary>
    /// outputs[r, o] = bias[o] + sum over i of inputs[r, i] * weights[o, i], summed in ascending i; with weights in int8 each group of inputs
    /// is summed exactly, and the groups in ascending order.
    /// </summary>
    public abstract void Multiply(in GemmBlock block);
}

internal sealed unsafe class GemmKernels<TLanes, TVector, TInts> : GemmKernels
    where TLanes : struct, ILanes<TVector>, IIntegerLanes<TVector, TInts>
    where TVector : unmanaged
    where TInts : unmanaged
{
    /// <summary>Rows from which weights are reused enough to be worth keeping in cache.</summary>
    private const int BlockingRows = 12;

    /// <summary>
    /// Inputs of a run: those of a block's rows and a strip of 16 outputs fit the second-level cache together, and a run is long enough for what it takes
    /// to begin and end one (a tenth of the time with 256 inputs) not to matter.
    /// </summary>
    private const int BlockingInputs = 1024;

    public override int PanelsAtOnce(PanelFormat format) => format switch
    {
        PanelFormat.Float32 => StripPanels(GemmTiles<TLanes, TVector, Float32Panel>.VectorsFor(1)),
        PanelFormat.BFloat16 => StripPanels(GemmTiles<TLanes, TVector, BFloat16Panel>.VectorsFor(1)),
        _ => StripPanels(Int8Tiles<TLanes, TVector, TInts>.VectorsFor(1)),
    };

    public override void Multiply(in GemmBlock block)
    {
        switch (block.Matrix.Format)
        {
            case PanelFormat.Float32:
                Multiply<GemmTiles<TLanes, TVector, Float32Panel>>(block);
                break;
            case PanelFormat.BFloat16:
                Multiply<GemmTiles<TLanes, TVector, BFloat16Panel>>(block);
                break;
            default:
                Multiply<Int8Tiles<TLanes, TVector, TInts>>(block);
                break;
        }
    }

    private static void Multiply<TTiles>(in GemmBlock block)
        where TTiles : struct, IGemmTiles
    {
        int wholePanels = block.Panels;
        bool ragged = block.ExactOutputs
            && block.FirstPanel + block.Panels == block.Matrix.PanelCount
            && block.Matrix.Outputs % PackedMatrix.PanelOutputs != 0;
        if (ragged)
        {
            wholePanels--;
            MultiplyLastPanel<TTiles>(block);
        }

        if (wholePanels > 0)
        {
            int column = block.FirstPanel * PackedMatrix.PanelOutputs;
            MultiplyPanels<TTiles>(block, block.FirstPanel, wholePanels, block.Inputs, block.Rows, block.Outputs + column, block.OutputStride);
        }
    }

    /// <summary>The matrix's last, partly filled panel, by way of a buffer of whole panels.</summary>
    private static void MultiplyLastPanel<TTiles>(in GemmBlock block)
        where TTiles : struct, IGemmTiles
    {
        int panel = block.Matrix.PanelCount - 1;
        int column = panel * PackedMatrix.PanelOutputs;
        int outputs = block.Matrix.Outputs - column;
        float* whole = stackalloc float[IGemmTiles.MaxRows * PackedMatrix.PanelOutputs];
        for (int row = 0; row < block.Rows; row += IGemmTiles.MaxRows)
        {
            int rows = Math.Min(IGemmTiles.MaxRows, block.Rows - row);
            MultiplyPanels<TTiles>(block, panel, 1, block.Inputs + row * block.InputStride, rows, whole, PackedMatrix.PanelOutputs);
            for (int r = 0; r < rows; r++)
            {
                new ReadOnlySpan<float>(whole + r * PackedMatrix.PanelOutputs, outputs)
                    .CopyTo(new Span<float>(block.Outputs + (nint)(row + r) * block.OutputStride + column, outputs));
            }
        }
    }

    private static void MultiplyPanels<TTiles>(
        in GemmBlock block, int firstPanel, int panels, byte* inputs, int rows, float* outputs, int outputStride)
        where TTiles : struct, IGemmTiles
    {
        var matrix = block.Matrix;
        var geometry = matrix.Geometry;
        int allVectors = panels * PackedMatrix.PanelOutputs / TLanes.Count;
        int tileVectors = TTiles.VectorsFor(rows);
        int runUnits = rows >= BlockingRows ? BlockingInputs / geometry.UnitInputs : matrix.Units;
        for (int unit = 0; unit < matrix.Units; unit += runUnits)
        {
            bool begins = unit == 0 && !block.Continues;
            var tile = new GemmTile
            {
                InputStride = block.InputStride,
                OutputBytes = geometry.OutputBytes,
                PanelBytes = (nint)matrix.PanelBytes,
                Units = Math.Min(runUnits, matrix.Units - unit),
                OutputStride = outputStride,
                InitialStride = begins ? 0 : outputStride,
            };

            // All rows pass over a strip of weights while it is in cache: it comes from memory once.
            for (int vector = 0; vector < allVectors; vector += tileVectors)
            {
                // A strip that the large kernel would mostly fill with repetitions.
                if (rows == 1 && allVectors - vector <= TTiles.VectorsFor(2))
                {
                    tileVectors = TTiles.VectorsFor(2);
                }

                int stripPanels = StripPanels(tileVectors);
                int column = vector * TLanes.Count;
                tile.Weights = matrix.Panels + (firstPanel + column / PackedMatrix.PanelOutputs) * matrix.PanelBytes
                    + column % PackedMatrix.PanelOutputs * geometry.OutputBytes + (long)unit * geometry.UnitBytes;
                tile.Vectors = Math.Min(tileVectors, allVectors - vector);
                tile.NextStrip = stripPanels * (nint)matrix.PanelBytes;
                float* bias = matrix.Bias + (nint)firstPanel * PackedMatrix.PanelOutputs + column;
                int next = block.MoreFollow || vector + tileVectors < allVectors ? stripPanels : 0;
                for (int row = 0, number = 0; row < rows; row += tile.Rows, number++)
                {
                    tile.Rows = TTiles.TileRows(rows - row);
                    tile.Inputs = inputs + row * block.InputStride + (nint)unit * geometry.InputUnitBytes;
                    tile.Outputs = outputs + (nint)row * outputStride + column;
                    tile.Initial = begins ? bias : tile.Outputs;
                    SetAhead(ref tile, number, next, matrix.Format);
                    TTiles.Run(tile, tileVectors);
                }
            }
        }
    }

    private static int StripPanels(int vectors) => Math.Max(1, vectors * TLanes.Count / PackedMatrix.PanelOutputs);

    /// <summary>
    /// The first tiles of a strip fetch the next strip, each one line of every unit of a panel (with int8 the first tile all lines). Otherwise the first tile of every strip
    /// waits for memory, whose own prefetchers begin anew with each: with 16 rows of bf16 a third of the time.
    /// </summary>
    /// <param name="panels">Panels of the next strip; 0 if there is none.</param>
    private static void SetAhead(ref GemmTile tile, int number, int panels, PanelFormat format)
    {
        const int Line = 64;
        int unitBytes = PanelGeometry.Of(format).UnitBytes;
        int lines = format == PanelFormat.Int8 ? 1 : unitBytes / Line;
        bool fetches = number < panels * lines;
        tile.Ahead = fetches ? tile.Weights + (panels + number / lines) * tile.PanelBytes + number % lines * Line : tile.Inputs;
        tile.AheadStep = fetches ? unitBytes : 0;
    }
}
