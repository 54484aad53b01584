using System.Runtime.CompilerServices;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// The inner kernels of matrix products with weights in int8. A group's products are summed in int32, exactly, so in whatever order is fast; then
/// each output is one chain of fused multiply-adds over the groups in ascending order, of a group's sum and the product of its two scales.
/// So results depend on the kernel as little as those of <see cref="GemmTiles{TLanes, TVector, TPanel}"/> do. Written out for the same reason.
/// </summary>
internal readonly unsafe struct Int8Tiles<TLanes, TVector, TInts> : IGemmTiles
    where TLanes : struct, ILanes<TVector>, IIntegerLanes<TVector, TInts>
    where TVector : unmanaged
    where TInts : unmanaged
{
    public static int MaxRows => 4;

    public static int VectorsFor(int rows) => rows <= 2 ? 4 : 2;

    public static void Run(in GemmTile tile, int vectors)
    {
        if (vectors == 2)
        {
            Rows4(tile);
        }
        else if (tile.Rows == 1)
        {
            Rows1(tile);
        }
        else
        {
            Rows2(tile);
        }
    }

    /// <summary>1 row, 4 vectors: decode, as fast as the weights come from memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        byte* x0 = tile.Row(0);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        byte* w2 = tile.Vector(2, lanes);
        byte* w3 = tile.Vector(3, lanes);
        TVector s00 = TLanes.Load(tile.Start(0, 0, lanes)), s01 = TLanes.Load(tile.Start(0, 1, lanes)), s02 = TLanes.Load(tile.Start(0, 2, lanes)), s03 = TLanes.Load(tile.Start(0, 3, lanes));
        for (int unit = tile.Units; unit > 0; unit--)
        {
            TInts i00 = default, i01 = default, i02 = default, i03 = default;
            byte* x = x0 + sizeof(float);
            for (nint pair = Int8Panel.ScaleBytes; pair < Int8Panel.GroupBytes; pair += Int8Panel.PairBytes)
            {
                TInts q = TLanes.BroadcastPair(x);
                i00 = TLanes.AddProducts(i00, TLanes.Pairs(w0 + pair), q);
                i01 = TLanes.AddProducts(i01, TLanes.Pairs(w1 + pair), q);
                i02 = TLanes.AddProducts(i02, TLanes.Pairs(w2 + pair), q);
                i03 = TLanes.AddProducts(i03, TLanes.Pairs(w3 + pair), q);
                x += 2 * sizeof(short);
            }

            TVector scale = TLanes.Broadcast((float*)x0);
            s00 = Add(s00, i00, scale, TLanes.BFloat16s(w0));
            s01 = Add(s01, i01, scale, TLanes.BFloat16s(w1));
            s02 = Add(s02, i02, scale, TLanes.BFloat16s(w2));
            s03 = Add(s03, i03, scale, TLanes.BFloat16s(w3));
            x0 += Int8Inputs.GroupBytes;
            w0 += Int8Panel.GroupBytes;
            w1 += Int8Panel.GroupBytes;
            w2 += Int8Panel.GroupBytes;
            w3 += Int8Panel.GroupBytes;
        }

        TLanes.Store(s00, tile.Result(0, 0, lanes));
        TLanes.Store(s01, tile.Result(0, 1, lanes));
        TLanes.Store(s02, tile.Result(0, 2, lanes));
        TLanes.Store(s03, tile.Result(0, 3, lanes));
    }

    /// <summary>2 rows, 4 vectors: as <see cref="Rows4"/>, but each weight is widened for two rows only, so that two sequences decode as fast as one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        byte* x0 = tile.Row(0);
        byte* x1 = tile.Row(1);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        byte* w2 = tile.Vector(2, lanes);
        byte* w3 = tile.Vector(3, lanes);
        TVector* sums = stackalloc TVector[8];
        for (int vector = 0; vector < 4; vector++)
        {
            sums[vector] = TLanes.Load(tile.Start(0, vector, lanes));
            sums[4 + vector] = TLanes.Load(tile.Start(1, vector, lanes));
        }

        for (int unit = tile.Units; unit > 0; unit--)
        {
            TInts i00 = default, i01 = default, i02 = default, i03 = default, i10 = default, i11 = default, i12 = default, i13 = default;
            byte* x = x0 + sizeof(float);
            nint next = (nint)(x1 - x0);
            for (nint pair = Int8Panel.ScaleBytes; pair < Int8Panel.GroupBytes; pair += Int8Panel.PairBytes)
            {
                TInts q0 = TLanes.BroadcastPair(x), q1 = TLanes.BroadcastPair(x + next);
                TInts p = TLanes.Pairs(w0 + pair);
                i00 = TLanes.AddProducts(i00, p, q0);
                i10 = TLanes.AddProducts(i10, p, q1);
                p = TLanes.Pairs(w1 + pair);
                i01 = TLanes.AddProducts(i01, p, q0);
                i11 = TLanes.AddProducts(i11, p, q1);
                p = TLanes.Pairs(w2 + pair);
                i02 = TLanes.AddProducts(i02, p, q0);
                i12 = TLanes.AddProducts(i12, p, q1);
                p = TLanes.Pairs(w3 + pair);
                i03 = TLanes.AddProducts(i03, p, q0);
                i13 = TLanes.AddProducts(i13, p, q1);
                x += 2 * sizeof(short);
            }

            TVector scale0 = TLanes.Broadcast((float*)x0), scale1 = TLanes.Broadcast((float*)x1), scales = TLanes.BFloat16s(w0);
            sums[0] = Add(sums[0], i00, scale0, scales);
            sums[4] = Add(sums[4], i10, scale1, scales);
            scales = TLanes.BFloat16s(w1);
            sums[1] = Add(sums[1], i01, scale0, scales);
            sums[5] = Add(sums[5], i11, scale1, scales);
            scales = TLanes.BFloat16s(w2);
            sums[2] = Add(sums[2], i02, scale0, scales);
            sums[6] = Add(sums[6], i12, scale1, scales);
            scales = TLanes.BFloat16s(w3);
            sums[3] = Add(sums[3], i03, scale0, scales);
            sums[7] = Add(sums[7], i13, scale1, scales);
            x0 += Int8Inputs.GroupBytes;
            x1 += Int8Inputs.GroupBytes;
            w0 += Int8Panel.GroupBytes;
            w1 += Int8Panel.GroupBytes;
            w2 += Int8Panel.GroupBytes;
            w3 += Int8Panel.GroupBytes;
        }

        for (int vector = 0; vector < 4; vector++)
        {
            TLanes.Store(sums[vector], tile.Result(0, vector, lanes));
            TLanes.Store(sums[4 + vector], tile.Result(1, vector, lanes));
        }
    }

    /// <summary>
    /// 4 rows, 2 vectors. Eight integer sums, two weights, an input and a product leave no registers of AVX2 for the sums of groups: those are on
    /// the stack, where a group visits them once.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        byte* x0 = tile.Row(0);
        byte* x1 = tile.Row(1);
        byte* x2 = tile.Row(2);
        byte* x3 = tile.Row(3);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        TVector* sums = stackalloc TVector[8];
        for (int row = 0; row < 4; row++)
        {
            sums[2 * row] = TLanes.Load(tile.Start(row, 0, lanes));
            sums[2 * row + 1] = TLanes.Load(tile.Start(row, 1, lanes));
        }

        for (int unit = tile.Units; unit > 0; unit--)
        {
            TInts i00 = default, i01 = default, i10 = default, i11 = default, i20 = default, i21 = default, i30 = default, i31 = default;
            byte* w = w0 + Int8Panel.ScaleBytes;
            nint next = (nint)(w1 - w0);
            for (nint pair = sizeof(float); pair < Int8Inputs.GroupBytes; pair += 2 * sizeof(short))
            {
                TInts p0 = TLanes.Pairs(w), p1 = TLanes.Pairs(w + next);
                TInts q = TLanes.BroadcastPair(x0 + pair);
                i00 = TLanes.AddProducts(i00, p0, q);
                i01 = TLanes.AddProducts(i01, p1, q);
                q = TLanes.BroadcastPair(x1 + pair);
                i10 = TLanes.AddProducts(i10, p0, q);
                i11 = TLanes.AddProducts(i11, p1, q);
                q = TLanes.BroadcastPair(x2 + pair);
                i20 = TLanes.AddProducts(i20, p0, q);
                i21 = TLanes.AddProducts(i21, p1, q);
                q = TLanes.BroadcastPair(x3 + pair);
                i30 = TLanes.AddProducts(i30, p0, q);
                i31 = TLanes.AddProducts(i31, p1, q);
                w += Int8Panel.PairBytes;
            }

            TVector scales0 = TLanes.BFloat16s(w0), scales1 = TLanes.BFloat16s(w1), scale = TLanes.Broadcast((float*)x0);
            sums[0] = Add(sums[0], i00, scale, scales0);
            sums[1] = Add(sums[1], i01, scale, scales1);
            scale = TLanes.Broadcast((float*)x1);
            sums[2] = Add(sums[2], i10, scale, scales0);
            sums[3] = Add(sums[3], i11, scale, scales1);
            scale = TLanes.Broadcast((float*)x2);
            sums[4] = Add(sums[4], i20, scale, scales0);
            sums[5] = Add(sums[5], i21, scale, scales1);
            scale = TLanes.Broadcast((float*)x3);
            sums[6] = Add(sums[6], i30, scale, scales0);
            sums[7] = Add(sums[7], i31, scale, scales1);
            x0 += Int8Inputs.GroupBytes;
            x1 += Int8Inputs.GroupBytes;
            x2 += Int8Inputs.GroupBytes;
            x3 += Int8Inputs.GroupBytes;
            w0 += Int8Panel.GroupBytes;
            w1 += Int8Panel.GroupBytes;
        }

        for (int row = 0; row < 4; row++)
        {
            TLanes.Store(sums[2 * row], tile.Result(row, 0, lanes));
            TLanes.Store(sums[2 * row + 1], tile.Result(row, 1, lanes));
        }
    }

    /// <summary>The scales' product is exact: one of them is a power of two.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Add(TVector sum, TInts ints, TVector inputScale, TVector weightScales) =>
        TLanes.MultiplyAdd(TLanes.ToFloats(ints), TLanes.Multiply(inputScale, weightScales), sum);
}
