using System.Runtime.CompilerServices;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>How a panel of 16 outputs stores its weights; see <see cref="PackedMatrix"/>.</summary>
internal enum PanelFormat
{
    /// <summary><c>[inputs][16]</c> f32: 128 bytes for two inputs.</summary>
    Float32,

    /// <summary><c>[inputs/2][16][2]</c> bf16: 64 bytes for two inputs, and one load gives both as f32 with a shift and a mask.</summary>
    BFloat16,

    /// <summary>
    /// For each group of 32 inputs <c>[16]</c> scales in bf16, then <c>[16 pairs][16][2]</c> int8: 544 bytes, 8.5 bits a weight. A weight is
    /// its int8 times the scale of its output and group.
    /// </summary>
    Int8,
}

/// <summary>
/// What a panel and the inputs multiplied with it are made of: units of a few inputs. In every format what a unit holds of an output begins
/// <see cref="OutputBytes"/> * output into it.
/// </summary>
/// <param name="UnitInputs">Inputs of a unit; inputs are padded to whole units.</param>
/// <param name="UnitBytes">Bytes of a unit of weights, for 16 outputs.</param>
/// <param name="InputUnitBytes">Bytes of a unit of one row's inputs: f32, or what <see cref="Int8Inputs"/> makes of them.</param>
internal readonly record struct PanelGeometry(int UnitInputs, int UnitBytes, int OutputBytes, int InputUnitBytes)
{
    public static PanelGeometry Of(PanelFormat format) => format switch
    {
        PanelFormat.Float32 => new(2, Float32Panel.PairBytes, 4, 2 * sizeof(float)),
        PanelFormat.BFloat16 => new(2, BFloat16Panel.PairBytes, 4, 2 * sizeof(float)),
        PanelFormat.Int8 => new(Int8Panel.GroupInputs, Int8Panel.GroupBytes, 2, Int8Inputs.GroupBytes),
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };

    /// <summary>Units that hold this many inputs.</summary>
    public int Units(int inputs) => (inputs + UnitInputs - 1) / UnitInputs;
}

/// <summary>Reads a panel of floats two inputs at a time.</summary>
internal unsafe interface IPanelReader
{
    /// <summary>Bytes from one pair of inputs to the next.</summary>
    static abstract int PairBytes { get; }

    /// <summary>The weights of the pair's first input, for as many outputs as the vector has lanes.</summary>
    static abstract TVector First<TLanes, TVector>(byte* pair)
        where TLanes : struct, ILanes<TVector>
        where TVector : unmanaged;

    /// <summary>The weights of the pair's second input.</summary>
    static abstract TVector Second<TLanes, TVector>(byte* pair)
        where TLanes : struct, ILanes<TVector>
        where TVector : unmanaged;
}

internal readonly unsafe struct Float32Panel : IPanelReader
{
    public static int PairBytes => 128;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TLanes, TVector>(byte* pair)
        where TLanes : struct, ILanes<TVector>
        where TVector : unmanaged => TLanes.Load((float*)pair);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TLanes, TVector>(byte* pair)
        where TLanes : struct, ILanes<TVector>
        where TVector : unmanaged => TLanes.Load((float*)(pair + 64));
}

internal readonly unsafe struct BFloat16Panel : IPanelReader
{
    public static int PairBytes => 64;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TLanes, TVector>(byte* pair)
        where TLanes : struct, ILanes<TVector>
        where TVector : unmanaged => TLanes.FirstOfPairs(pair);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TLanes, TVector>(byte* pair)
        where TLanes : struct, ILanes<TVector>
        where TVector : unmanaged => TLanes.SecondOfPairs(pair);
}

/// <summary>The constants of <see cref="PanelFormat.Int8"/>.</summary>
internal static class Int8Panel
{
    public const int GroupInputs = 32;

    public const int GroupPairs = GroupInputs / 2;

    /// <summary>Before the weights of a group: 16 bf16.</summary>
    public const int ScaleBytes = 32;

    /// <summary>16 outputs of two int8.</summary>
    public const int PairBytes = 32;

    public const int GroupBytes = ScaleBytes + GroupPairs * PairBytes;
}
