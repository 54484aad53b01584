using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// The inner kernels of matrix products with weights in f32 and bf16. Each output is one chain of fused multiply-adds over the inputs in ascending order, whatever
/// the kernel, the vector width or the number of rows: so a token's results do not depend on what it is computed together with.
/// The sums are local variables because only those stay in registers; that is why the kernels are written out.
/// </summary>
internal readonly unsafe struct GemmTiles<TLanes, TVector, TPanel> : IGemmTiles
    where TLanes : struct, ILanes<TVector>
    where TVector : unmanaged
    where TPanel : struct, IPanelReader
{
    public static int TileRows(int rowsLeft) => rowsLeft is 7 or 8 ? 4 : Math.Min(rowsLeft, IGemmTiles.MaxRows);

    public static int VectorsFor(int rows) => rows switch
    {
        1 => TLanes.Count is 4 or 8 ? 12 : 8,
        2 => 4,
        _ => 2,
    };

    public static void Run(in GemmTile tile, int vectors)
    {
        if (vectors == 12)
        {
            Rows1Wide(tile);
        }
        else if (vectors == 8)
        {
            Rows1(tile);
        }
        else if (vectors == 4)
        {
            Rows2(tile);
        }
        else if (tile.Rows <= 4)
        {
            Rows4(tile);
        }
        else
        {
            Rows6(tile);
        }
    }

    /// <summary>1 row, 8 vectors: decode. Eight chains cover the latency of a multiply-add; the weights stream from memory once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        float* x0 = (float*)tile.Row(0);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        byte* w2 = tile.Vector(2, lanes);
        byte* w3 = tile.Vector(3, lanes);
        byte* w4 = tile.Vector(4, lanes);
        byte* w5 = tile.Vector(5, lanes);
        byte* w6 = tile.Vector(6, lanes);
        byte* w7 = tile.Vector(7, lanes);
        TVector s00 = TLanes.Load(tile.Start(0, 0, lanes)), s01 = TLanes.Load(tile.Start(0, 1, lanes)), s02 = TLanes.Load(tile.Start(0, 2, lanes)), s03 = TLanes.Load(tile.Start(0, 3, lanes)), s04 = TLanes.Load(tile.Start(0, 4, lanes)), s05 = TLanes.Load(tile.Start(0, 5, lanes)), s06 = TLanes.Load(tile.Start(0, 6, lanes)), s07 = TLanes.Load(tile.Start(0, 7, lanes));
        nint inputs = (nint)tile.Units * 2;
        for (nint i = 0; i < inputs; i += 2)
        {
            TVector x = TLanes.Broadcast(x0 + i);
            s00 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w0), s00);
            s01 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w1), s01);
            s02 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w2), s02);
            s03 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w3), s03);
            s04 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w4), s04);
            s05 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w5), s05);
            s06 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w6), s06);
            s07 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w7), s07);
            x = TLanes.Broadcast(x0 + i + 1);
            s00 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w0), s00);
            s01 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w1), s01);
            s02 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w2), s02);
            s03 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w3), s03);
            s04 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w4), s04);
            s05 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w5), s05);
            s06 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w6), s06);
            s07 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w7), s07);
            w0 += TPanel.PairBytes;
            w1 += TPanel.PairBytes;
            w2 += TPanel.PairBytes;
            w3 += TPanel.PairBytes;
            w4 += TPanel.PairBytes;
            w5 += TPanel.PairBytes;
            w6 += TPanel.PairBytes;
            w7 += TPanel.PairBytes;
        }

        TLanes.Store(s00, tile.Result(0, 0, lanes));
        TLanes.Store(s01, tile.Result(0, 1, lanes));
        TLanes.Store(s02, tile.Result(0, 2, lanes));
        TLanes.Store(s03, tile.Result(0, 3, lanes));
        TLanes.Store(s04, tile.Result(0, 4, lanes));
        TLanes.Store(s05, tile.Result(0, 5, lanes));
        TLanes.Store(s06, tile.Result(0, 6, lanes));
        TLanes.Store(s07, tile.Result(0, 7, lanes));
    }

    /// <summary>
    /// 1 row, 12 vectors of 4 or 8 lanes, two next to each other of a panel: decode. Reading six panels at a time is up to a tenth faster than four, and the
    /// most that the first-level cache has ways for: rows of panels are often a power of two apart.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1Wide(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        nint next = lanes * sizeof(float);
        nint again = tile.Again;
        nint nextAgain = next + again;
        float* x0 = (float*)tile.Row(0);
        int v0 = PairOf(tile, 0);
        int v1 = PairOf(tile, 1);
        int v2 = PairOf(tile, 2);
        int v3 = PairOf(tile, 3);
        int v4 = PairOf(tile, 4);
        int v5 = PairOf(tile, 5);
        byte* w0 = tile.Vector(v0, lanes);
        byte* w1 = tile.Vector(v1, lanes);
        byte* w2 = tile.Vector(v2, lanes);
        byte* w3 = tile.Vector(v3, lanes);
        byte* w4 = tile.Vector(v4, lanes);
        byte* w5 = tile.Vector(v5, lanes);
        TVector s00 = TLanes.Load(tile.Start(0, v0, lanes)), s01 = TLanes.Load(tile.Start(0, v0 + 1, lanes));
        TVector s10 = TLanes.Load(tile.Start(0, v1, lanes)), s11 = TLanes.Load(tile.Start(0, v1 + 1, lanes));
        TVector s20 = TLanes.Load(tile.Start(0, v2, lanes)), s21 = TLanes.Load(tile.Start(0, v2 + 1, lanes));
        TVector s30 = TLanes.Load(tile.Start(0, v3, lanes)), s31 = TLanes.Load(tile.Start(0, v3 + 1, lanes));
        TVector s40 = TLanes.Load(tile.Start(0, v4, lanes)), s41 = TLanes.Load(tile.Start(0, v4 + 1, lanes));
        TVector s50 = TLanes.Load(tile.Start(0, v5, lanes)), s51 = TLanes.Load(tile.Start(0, v5 + 1, lanes));
        nint inputs = (nint)tile.Units * 2;
        for (nint i = 0; i < inputs; i += 2)
        {
            TVector x = TLanes.Broadcast(x0 + i);
            s00 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w0), s00);
            s01 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w0 + next), s01);
            s10 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w1), s10);
            s11 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w1 + next), s11);
            s20 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w2), s20);
            s21 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w2 + next), s21);
            s30 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w3), s30);
            s31 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w3 + next), s31);
            s40 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w4), s40);
            s41 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w4 + next), s41);
            s50 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w5), s50);
            s51 = TLanes.MultiplyAdd(x, TPanel.First<TLanes, TVector>(w5 + next), s51);
            x = TLanes.Broadcast(x0 + i + 1);
            s00 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w0 + again), s00);
            s01 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w0 + nextAgain), s01);
            s10 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w1 + again), s10);
            s11 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w1 + nextAgain), s11);
            s20 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w2 + again), s20);
            s21 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w2 + nextAgain), s21);
            s30 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w3 + again), s30);
            s31 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w3 + nextAgain), s31);
            s40 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w4 + again), s40);
            s41 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w4 + nextAgain), s41);
            s50 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w5 + again), s50);
            s51 = TLanes.MultiplyAdd(x, TPanel.Second<TLanes, TVector>(w5 + nextAgain), s51);
            w0 += TPanel.PairBytes;
            w1 += TPanel.PairBytes;
            w2 += TPanel.PairBytes;
            w3 += TPanel.PairBytes;
            w4 += TPanel.PairBytes;
            w5 += TPanel.PairBytes;
        }

        TLanes.Store(s00, tile.Result(0, v0, lanes));
        TLanes.Store(s01, tile.Result(0, v0 + 1, lanes));
        TLanes.Store(s10, tile.Result(0, v1, lanes));
        TLanes.Store(s11, tile.Result(0, v1 + 1, lanes));
        TLanes.Store(s20, tile.Result(0, v2, lanes));
        TLanes.Store(s21, tile.Result(0, v2 + 1, lanes));
        TLanes.Store(s30, tile.Result(0, v3, lanes));
        TLanes.Store(s31, tile.Result(0, v3 + 1, lanes));
        TLanes.Store(s40, tile.Result(0, v4, lanes));
        TLanes.Store(s41, tile.Result(0, v4 + 1, lanes));
        TLanes.Store(s50, tile.Result(0, v5, lanes));
        TLanes.Store(s51, tile.Result(0, v5 + 1, lanes));
    }

    /// <summary>The first vector of pair <paramref name="pair"/>, or of the last valid one.</summary>
    private static int PairOf(in GemmTile tile, int pair) => 2 * Math.Min(pair, tile.Vectors / 2 - 1);

    /// <summary>2 rows, 4 vectors. This kernel and the larger ones read more slowly than memory gives: they fetch what the next strip will read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        float* x0 = (float*)tile.Row(0);
        float* x1 = (float*)tile.Row(1);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        byte* w2 = tile.Vector(2, lanes);
        byte* w3 = tile.Vector(3, lanes);
        TVector s00 = TLanes.Load(tile.Start(0, 0, lanes)), s01 = TLanes.Load(tile.Start(0, 1, lanes)), s02 = TLanes.Load(tile.Start(0, 2, lanes)), s03 = TLanes.Load(tile.Start(0, 3, lanes));
        TVector s10 = TLanes.Load(tile.Start(1, 0, lanes)), s11 = TLanes.Load(tile.Start(1, 1, lanes)), s12 = TLanes.Load(tile.Start(1, 2, lanes)), s13 = TLanes.Load(tile.Start(1, 3, lanes));
        byte* ahead = tile.Ahead;
        nint again = tile.Again;
        nint inputs = (nint)tile.Units * 2;
        for (nint i = 0; i < inputs; i += 2)
        {
            Prefetch(ahead);
            ahead += tile.AheadStep;
            TVector x;
            var p0 = TPanel.First<TLanes, TVector>(w0);
            var p1 = TPanel.First<TLanes, TVector>(w1);
            var p2 = TPanel.First<TLanes, TVector>(w2);
            var p3 = TPanel.First<TLanes, TVector>(w3);
            x = TLanes.Broadcast(x0 + i);
            s00 = TLanes.MultiplyAdd(x, p0, s00);
            s01 = TLanes.MultiplyAdd(x, p1, s01);
            s02 = TLanes.MultiplyAdd(x, p2, s02);
            s03 = TLanes.MultiplyAdd(x, p3, s03);
            x = TLanes.Broadcast(x1 + i);
            s10 = TLanes.MultiplyAdd(x, p0, s10);
            s11 = TLanes.MultiplyAdd(x, p1, s11);
            s12 = TLanes.MultiplyAdd(x, p2, s12);
            s13 = TLanes.MultiplyAdd(x, p3, s13);
            p0 = TPanel.Second<TLanes, TVector>(w0 + again);
            p1 = TPanel.Second<TLanes, TVector>(w1 + again);
            p2 = TPanel.Second<TLanes, TVector>(w2 + again);
            p3 = TPanel.Second<TLanes, TVector>(w3 + again);
            x = TLanes.Broadcast(x0 + i + 1);
            s00 = TLanes.MultiplyAdd(x, p0, s00);
            s01 = TLanes.MultiplyAdd(x, p1, s01);
            s02 = TLanes.MultiplyAdd(x, p2, s02);
            s03 = TLanes.MultiplyAdd(x, p3, s03);
            x = TLanes.Broadcast(x1 + i + 1);
            s10 = TLanes.MultiplyAdd(x, p0, s10);
            s11 = TLanes.MultiplyAdd(x, p1, s11);
            s12 = TLanes.MultiplyAdd(x, p2, s12);
            s13 = TLanes.MultiplyAdd(x, p3, s13);
            w0 += TPanel.PairBytes;
            w1 += TPanel.PairBytes;
            w2 += TPanel.PairBytes;
            w3 += TPanel.PairBytes;
        }

        TLanes.Store(s00, tile.Result(0, 0, lanes));
        TLanes.Store(s01, tile.Result(0, 1, lanes));
        TLanes.Store(s02, tile.Result(0, 2, lanes));
        TLanes.Store(s03, tile.Result(0, 3, lanes));
        TLanes.Store(s10, tile.Result(1, 0, lanes));
        TLanes.Store(s11, tile.Result(1, 1, lanes));
        TLanes.Store(s12, tile.Result(1, 2, lanes));
        TLanes.Store(s13, tile.Result(1, 3, lanes));
    }

    /// <summary>4 rows, 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        float* x0 = (float*)tile.Row(0);
        float* x1 = (float*)tile.Row(1);
        float* x2 = (float*)tile.Row(2);
        float* x3 = (float*)tile.Row(3);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        TVector s00 = TLanes.Load(tile.Start(0, 0, lanes)), s01 = TLanes.Load(tile.Start(0, 1, lanes));
        TVector s10 = TLanes.Load(tile.Start(1, 0, lanes)), s11 = TLanes.Load(tile.Start(1, 1, lanes));
        TVector s20 = TLanes.Load(tile.Start(2, 0, lanes)), s21 = TLanes.Load(tile.Start(2, 1, lanes));
        TVector s30 = TLanes.Load(tile.Start(3, 0, lanes)), s31 = TLanes.Load(tile.Start(3, 1, lanes));
        byte* ahead = tile.Ahead;
        nint inputs = (nint)tile.Units * 2;
        for (nint i = 0; i < inputs; i += 2)
        {
            Prefetch(ahead);
            ahead += tile.AheadStep;
            TVector x;
            var p0 = TPanel.First<TLanes, TVector>(w0);
            var p1 = TPanel.First<TLanes, TVector>(w1);
            x = TLanes.Broadcast(x0 + i);
            s00 = TLanes.MultiplyAdd(x, p0, s00);
            s01 = TLanes.MultiplyAdd(x, p1, s01);
            x = TLanes.Broadcast(x1 + i);
            s10 = TLanes.MultiplyAdd(x, p0, s10);
            s11 = TLanes.MultiplyAdd(x, p1, s11);
            x = TLanes.Broadcast(x2 + i);
            s20 = TLanes.MultiplyAdd(x, p0, s20);
            s21 = TLanes.MultiplyAdd(x, p1, s21);
            x = TLanes.Broadcast(x3 + i);
            s30 = TLanes.MultiplyAdd(x, p0, s30);
            s31 = TLanes.MultiplyAdd(x, p1, s31);
            p0 = TPanel.Second<TLanes, TVector>(w0);
            p1 = TPanel.Second<TLanes, TVector>(w1);
            x = TLanes.Broadcast(x0 + i + 1);
            s00 = TLanes.MultiplyAdd(x, p0, s00);
            s01 = TLanes.MultiplyAdd(x, p1, s01);
            x = TLanes.Broadcast(x1 + i + 1);
            s10 = TLanes.MultiplyAdd(x, p0, s10);
            s11 = TLanes.MultiplyAdd(x, p1, s11);
            x = TLanes.Broadcast(x2 + i + 1);
            s20 = TLanes.MultiplyAdd(x, p0, s20);
            s21 = TLanes.MultiplyAdd(x, p1, s21);
            x = TLanes.Broadcast(x3 + i + 1);
            s30 = TLanes.MultiplyAdd(x, p0, s30);
            s31 = TLanes.MultiplyAdd(x, p1, s31);
            w0 += TPanel.PairBytes;
            w1 += TPanel.PairBytes;
        }

        TLanes.Store(s00, tile.Result(0, 0, lanes));
        TLanes.Store(s01, tile.Result(0, 1, lanes));
        TLanes.Store(s10, tile.Result(1, 0, lanes));
        TLanes.Store(s11, tile.Result(1, 1, lanes));
        TLanes.Store(s20, tile.Result(2, 0, lanes));
        TLanes.Store(s21, tile.Result(2, 1, lanes));
        TLanes.Store(s30, tile.Result(3, 0, lanes));
        TLanes.Store(s31, tile.Result(3, 1, lanes));
    }

    /// <summary>6 rows, 2 vectors: prefill. Twelve sums, two weights and a broadcast fill the registers of AVX2: <see cref="GemmTile.Again"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows6(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        float* x0 = (float*)tile.Row(0);
        float* x1 = (float*)tile.Row(1);
        float* x2 = (float*)tile.Row(2);
        float* x3 = (float*)tile.Row(3);
        float* x4 = (float*)tile.Row(4);
        float* x5 = (float*)tile.Row(5);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        TVector s00 = TLanes.Load(tile.Start(0, 0, lanes)), s01 = TLanes.Load(tile.Start(0, 1, lanes));
        TVector s10 = TLanes.Load(tile.Start(1, 0, lanes)), s11 = TLanes.Load(tile.Start(1, 1, lanes));
        TVector s20 = TLanes.Load(tile.Start(2, 0, lanes)), s21 = TLanes.Load(tile.Start(2, 1, lanes));
        TVector s30 = TLanes.Load(tile.Start(3, 0, lanes)), s31 = TLanes.Load(tile.Start(3, 1, lanes));
        TVector s40 = TLanes.Load(tile.Start(4, 0, lanes)), s41 = TLanes.Load(tile.Start(4, 1, lanes));
        TVector s50 = TLanes.Load(tile.Start(5, 0, lanes)), s51 = TLanes.Load(tile.Start(5, 1, lanes));
        byte* ahead = tile.Ahead;
        nint again = tile.Again;
        nint inputs = (nint)tile.Units * 2;
        for (nint i = 0; i < inputs; i += 2)
        {
            Prefetch(ahead);
            ahead += tile.AheadStep;
            TVector x;
            var p0 = TPanel.First<TLanes, TVector>(w0);
            var p1 = TPanel.First<TLanes, TVector>(w1);
            x = TLanes.Broadcast(x0 + i);
            s00 = TLanes.MultiplyAdd(x, p0, s00);
            s01 = TLanes.MultiplyAdd(x, p1, s01);
            x = TLanes.Broadcast(x1 + i);
            s10 = TLanes.MultiplyAdd(x, p0, s10);
            s11 = TLanes.MultiplyAdd(x, p1, s11);
            x = TLanes.Broadcast(x2 + i);
            s20 = TLanes.MultiplyAdd(x, p0, s20);
            s21 = TLanes.MultiplyAdd(x, p1, s21);
            x = TLanes.Broadcast(x3 + i);
            s30 = TLanes.MultiplyAdd(x, p0, s30);
            s31 = TLanes.MultiplyAdd(x, p1, s31);
            x = TLanes.Broadcast(x4 + i);
            s40 = TLanes.MultiplyAdd(x, p0, s40);
            s41 = TLanes.MultiplyAdd(x, p1, s41);
            x = TLanes.Broadcast(x5 + i);
            s50 = TLanes.MultiplyAdd(x, p0, s50);
            s51 = TLanes.MultiplyAdd(x, p1, s51);
            p0 = TPanel.Second<TLanes, TVector>(w0 + again);
            p1 = TPanel.Second<TLanes, TVector>(w1 + again);
            x = TLanes.Broadcast(x0 + i + 1);
            s00 = TLanes.MultiplyAdd(x, p0, s00);
            s01 = TLanes.MultiplyAdd(x, p1, s01);
            x = TLanes.Broadcast(x1 + i + 1);
            s10 = TLanes.MultiplyAdd(x, p0, s10);
            s11 = TLanes.MultiplyAdd(x, p1, s11);
            x = TLanes.Broadcast(x2 + i + 1);
            s20 = TLanes.MultiplyAdd(x, p0, s20);
            s21 = TLanes.MultiplyAdd(x, p1, s21);
            x = TLanes.Broadcast(x3 + i + 1);
            s30 = TLanes.MultiplyAdd(x, p0, s30);
            s31 = TLanes.MultiplyAdd(x, p1, s31);
            x = TLanes.Broadcast(x4 + i + 1);
            s40 = TLanes.MultiplyAdd(x, p0, s40);
            s41 = TLanes.MultiplyAdd(x, p1, s41);
            x = TLanes.Broadcast(x5 + i + 1);
            s50 = TLanes.MultiplyAdd(x, p0, s50);
            s51 = TLanes.MultiplyAdd(x, p1, s51);
            w0 += TPanel.PairBytes;
            w1 += TPanel.PairBytes;
        }

        TLanes.Store(s00, tile.Result(0, 0, lanes));
        TLanes.Store(s01, tile.Result(0, 1, lanes));
        TLanes.Store(s10, tile.Result(1, 0, lanes));
        TLanes.Store(s11, tile.Result(1, 1, lanes));
        TLanes.Store(s20, tile.Result(2, 0, lanes));
        TLanes.Store(s21, tile.Result(2, 1, lanes));
        TLanes.Store(s30, tile.Result(3, 0, lanes));
        TLanes.Store(s31, tile.Result(3, 1, lanes));
        TLanes.Store(s40, tile.Result(4, 0, lanes));
        TLanes.Store(s41, tile.Result(4, 1, lanes));
        TLanes.Store(s50, tile.Result(5, 0, lanes));
        TLanes.Store(s51, tile.Result(5, 1, lanes));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* line)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0(line);
        }
    }
}
