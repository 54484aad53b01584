using System.Runtime.CompilerServices;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// A tile of a product: a few rows by a few vectors of outputs, over a run of inputs. Row and vector numbers past the valid ones
/// repeat the last valid one, so a kernel of fixed size computes (and stores) some results twice instead of needing a smaller kernel.
/// </summary>
internal unsafe struct GemmTile
{
    /// <summary>Rows of activations, <see cref="InputStride"/> bytes apart, at the first unit of the run.</summary>
    public byte* Inputs;
    public nint InputStride;

    /// <summary>Valid rows, at least 1.</summary>
    public int Rows;

    /// <summary>The first output's weights, at the first unit of the run.</summary>
    public byte* Weights;

    /// <summary>A cache line to fetch ahead with the run's first unit, and how much further the line for the next unit is: 0 to fetch nothing new.</summary>
    public byte* Ahead;
    public nint AheadStep;

    /// <summary>Bytes from this strip's weights to those of the strip that is likely next: the one behind it in memory.</summary>
    public nint NextStrip;

    /// <summary>
    /// 0, which the compiler cannot know. Weights that are needed a second time are read at an address plus this: from the cache, where the compiler would else keep
    /// them in a register that is a sum's, and move the sum to the stack.
    /// </summary>
    public nint Again;

    /// <summary>Bytes from an output to the next, and from a panel to the next.</summary>
    public int OutputBytes;
    public nint PanelBytes;

    /// <summary>Valid vectors, at least 1.</summary>
    public int Vectors;

    /// <summary>Units of inputs in the run; see <see cref="PanelGeometry"/>.</summary>
    public int Units;

    /// <summary>What the sums begin with: the bias (stride 0), or what the inputs before this run gave.</summary>
    public float* Initial;
    public nint InitialStride;

    /// <summary>[rows, OutputStride]; may be <see cref="Initial"/>.</summary>
    public float* Outputs;
    public nint OutputStride;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly byte* Row(int row) => Inputs + Math.Min(row, Rows - 1) * InputStride;

    /// <summary>Offset of a vector's outputs in an output row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly nint Column(int vector, int lanes) => Math.Min(vector, Vectors - 1) * lanes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly byte* Vector(int vector, int lanes)
    {
        nint column = Column(vector, lanes);
        return Weights + column / PackedMatrix.PanelOutputs * PanelBytes + column % PackedMatrix.PanelOutputs * OutputBytes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float* Start(int row, int vector, int lanes) => Initial + Math.Min(row, Rows - 1) * InitialStride + Column(vector, lanes);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float* Result(int row, int vector, int lanes) => Outputs + Math.Min(row, Rows - 1) * OutputStride + Column(vector, lanes);
}

/// <summary>The kernels of one panel format on one vector width.</summary>
internal interface IGemmTiles
{
    /// <summary>Rows of the largest kernel; the next smaller one has 4.</summary>
    const int MaxRows = 6;

    /// <summary>Rows of the next tile, of as many as are left: such that kernels compute few rows twice.</summary>
    static abstract int TileRows(int rowsLeft);

    /// <summary>Vectors that the kernel for this many rows covers; the most for one row.</summary>
    static abstract int VectorsFor(int rows);

    /// <summary>Computes a tile with the kernel that covers <paramref name="vectors"/> vectors.</summary>
    static abstract void Run(in GemmTile tile, int vectors);
}
