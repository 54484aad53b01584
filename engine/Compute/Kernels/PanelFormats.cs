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
    /// For each two groups of 32 inputs <c>[16][2]</c> scales in bf16, then for each group <c>[8 quads][16][4]</c> int8: 1088 bytes, 8.5 bits a weight. A
    /// weight is its int8 times the scale of its output and group. See <see cref="Int8Panel"/> for the order within a quad.
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
        PanelFormat.Int8 => new(Int8Panel.UnitInputs, Int8Panel.UnitBytes, 4, Int8Inputs.UnitBytes),
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

/// <summary>
/// The layout of <see cref="PanelFormat.Int8"/>. An output's quad holds inputs 0, 2, 1, 3 in this order: the lower bytes of its two int16 are inputs 0 and
/// 1, the upper ones 2 and 3, and both become pairs of int16 with one instruction. Lower bytes are stored 128 too large, so that they need no sign.
/// </summary>
internal static class Int8Panel
{
    /// <summary>Inputs that share a scale.</summary>
    public const int GroupInputs = 32;

    public const int UnitGroups = 2;

    public const int UnitInputs = UnitGroups * GroupInputs;

    public const int QuadInputs = 4;

    /// <summary>Before the weights of a unit: 16 pairs of bf16.</summary>
    public const int ScaleBytes = 64;

    /// <summary>What moves the first group's scale of a pair to where an f32 has it; the second's is there.</summary>
    public const int FirstScaleShift = 16;

    /// <summary>16 outputs of four int8.</summary>
    public const int QuadBytes = 64;

    public const int GroupBytes = GroupInputs / QuadInputs * QuadBytes;

    public const int UnitBytes = ScaleBytes + UnitGroups * GroupBytes;

    /// <summary>What is added to the lower bytes.</summary>
    public const int LowerOffset = 128;

    /// <summary>Where an input of a group lies, from the group's first quad of the same output.</summary>
    public static int ByteOf(int input)
    {
        int inQuad = input % QuadInputs;
        return input / QuadInputs * QuadBytes + inQuad % 2 * 2 + inQuad / 2;
    }

    /// <summary>The input is in a lower byte.</summary>
    public static bool IsLower(int input) => input % QuadInputs < 2;
}
