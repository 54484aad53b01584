using System.Runtime.CompilerServices;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>How a panel of 16 outputs stores its weights; see <see cref="PackedMatrix"/>.</summary>
internal enum PanelFormat
{
    /// <summary><c>[inputs][16]</c> f32: 128 bytes for two inputs.</summary>
    Float32,

    /// <summary><c>[inputs/2][16][2]</c> bf16: 64 bytes for two inputs, and one load gives both as f32 with a shift and a mask.</summary>
    BFloat16,
}

/// <summary>Reads a panel two inputs at a time. In both formats an output's weight begins at byte 4 * output of its group.</summary>
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
