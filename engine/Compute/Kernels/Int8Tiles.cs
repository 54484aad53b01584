using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// The inner kernels of matrix products with weights in int8. A group's products are summed in int32, exactly, so in whatever order is fast; then
/// each output is one chain of fused multiply-adds over the groups in ascending order, of a group's sum and the product of its two scales.
/// So results depend on the kernel as little as those of <see cref="GemmTiles{TLanes, TVector, TPanel}"/> do. Written out for the same reason; the
/// sums of groups are on the stack, where a group visits them once, because the registers of AVX2 are all taken.
/// </summary>
/// <remarks>
/// The lower bytes of a quad are read without their sign and so are 128 too large: what that adds to the group's products is known from the inputs alone,
/// and the integer sums begin with its negative (<see cref="Int8Inputs"/>).
/// </remarks>
internal readonly unsafe struct Int8Tiles<TLanes, TVector, TInts> : IGemmTiles
    where TLanes : struct, ILanes<TVector>, IIntegerLanes<TVector, TInts>
    where TVector : unmanaged
    where TInts : unmanaged
{
    /// <summary>Where a quad's inputs are, from the group's start.</summary>
    private const int QuadInputBytes = 4 * sizeof(short);

    /// <summary>The kernels for 4 and 6 rows take as long for a row.</summary>
    public static int TileRows(int rowsLeft) => rowsLeft is 5 or 6 ? rowsLeft : Math.Min(rowsLeft, 4);

    public static int VectorsFor(int rows) => rows switch
    {
        1 => 8,
        2 => 4,
        _ => 2,
    };

    public static void Run(in GemmTile tile, int vectors)
    {
        switch (vectors)
        {
            case 8:
                Rows1(tile);
                break;
            case 4:
                Rows2(tile);
                break;
            case 2 when tile.Rows > 4:
                Rows6(tile);
                break;
            default:
                Rows4(tile);
                break;
        }
    }

    /// <summary>
    /// 1 row, 8 vectors: decode, as fast as the weights come from memory. Each panel's next unit is fetched ahead, at the end the next strip's first one: the
    /// processor's own prefetchers alone give two thirds of that speed.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        byte* x = tile.Row(0);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        byte* w2 = tile.Vector(2, lanes);
        byte* w3 = tile.Vector(3, lanes);
        byte* w4 = tile.Vector(4, lanes);
        byte* w5 = tile.Vector(5, lanes);
        byte* w6 = tile.Vector(6, lanes);
        byte* w7 = tile.Vector(7, lanes);
        TVector* sums = stackalloc TVector[8];
        LoadSums(tile, sums, 1, 8);
        for (int unit = tile.Units; unit > 0; unit--)
        {
            nint ahead = unit > 1 ? Int8Panel.UnitBytes : tile.NextStrip - (nint)(tile.Units - 1) * Int8Panel.UnitBytes;
            Prefetch(w0 + ahead);
            Prefetch(w2 + ahead);
            Prefetch(w4 + ahead);
            Prefetch(w6 + ahead);
            nint quad = Int8Panel.ScaleBytes;
            for (int shift = Int8Panel.FirstScaleShift; shift >= 0; shift -= Int8Panel.FirstScaleShift)
            {
                TInts i0 = TLanes.Broadcast((int*)x + 1);
                TInts i1 = i0, i2 = i0, i3 = i0, i4 = i0, i5 = i0, i6 = i0, i7 = i0;
                byte* pairs = x + Int8Inputs.HeaderBytes;
                for (nint end = quad + Int8Panel.GroupBytes; quad < end; quad += Int8Panel.QuadBytes, pairs += QuadInputBytes)
                {
                    nint next = quad + ahead;
                    Prefetch(w0 + next);
                    Prefetch(w2 + next);
                    Prefetch(w4 + next);
                    Prefetch(w6 + next);
                    TInts low = TLanes.Broadcast((int*)pairs), high = TLanes.Broadcast((int*)pairs + 1);
                    TInts w = TLanes.LoadInts(w0 + quad);
                    i0 = TLanes.AddProducts(i0, TLanes.LowerBytes(w), low);
                    i0 = TLanes.AddProducts(i0, TLanes.UpperBytes(w), high);
                    w = TLanes.LoadInts(w1 + quad);
                    i1 = TLanes.AddProducts(i1, TLanes.LowerBytes(w), low);
                    i1 = TLanes.AddProducts(i1, TLanes.UpperBytes(w), high);
                    w = TLanes.LoadInts(w2 + quad);
                    i2 = TLanes.AddProducts(i2, TLanes.LowerBytes(w), low);
                    i2 = TLanes.AddProducts(i2, TLanes.UpperBytes(w), high);
                    w = TLanes.LoadInts(w3 + quad);
                    i3 = TLanes.AddProducts(i3, TLanes.LowerBytes(w), low);
                    i3 = TLanes.AddProducts(i3, TLanes.UpperBytes(w), high);
                    w = TLanes.LoadInts(w4 + quad);
                    i4 = TLanes.AddProducts(i4, TLanes.LowerBytes(w), low);
                    i4 = TLanes.AddProducts(i4, TLanes.UpperBytes(w), high);
                    w = TLanes.LoadInts(w5 + quad);
                    i5 = TLanes.AddProducts(i5, TLanes.LowerBytes(w), low);
                    i5 = TLanes.AddProducts(i5, TLanes.UpperBytes(w), high);
                    w = TLanes.LoadInts(w6 + quad);
                    i6 = TLanes.AddProducts(i6, TLanes.LowerBytes(w), low);
                    i6 = TLanes.AddProducts(i6, TLanes.UpperBytes(w), high);
                    w = TLanes.LoadInts(w7 + quad);
                    i7 = TLanes.AddProducts(i7, TLanes.LowerBytes(w), low);
                    i7 = TLanes.AddProducts(i7, TLanes.UpperBytes(w), high);
                }

                TVector scale = TLanes.Broadcast((float*)x);
                sums[0] = Add(sums[0], i0, scale, TLanes.OneOfPairs(w0, shift));
                sums[1] = Add(sums[1], i1, scale, TLanes.OneOfPairs(w1, shift));
                sums[2] = Add(sums[2], i2, scale, TLanes.OneOfPairs(w2, shift));
                sums[3] = Add(sums[3], i3, scale, TLanes.OneOfPairs(w3, shift));
                sums[4] = Add(sums[4], i4, scale, TLanes.OneOfPairs(w4, shift));
                sums[5] = Add(sums[5], i5, scale, TLanes.OneOfPairs(w5, shift));
                sums[6] = Add(sums[6], i6, scale, TLanes.OneOfPairs(w6, shift));
                sums[7] = Add(sums[7], i7, scale, TLanes.OneOfPairs(w7, shift));
                x += Int8Inputs.GroupBytes;
            }

            w0 += Int8Panel.UnitBytes;
            w1 += Int8Panel.UnitBytes;
            w2 += Int8Panel.UnitBytes;
            w3 += Int8Panel.UnitBytes;
            w4 += Int8Panel.UnitBytes;
            w5 += Int8Panel.UnitBytes;
            w6 += Int8Panel.UnitBytes;
            w7 += Int8Panel.UnitBytes;
        }

        StoreSums(tile, sums, 1, 8);
    }

    /// <summary>2 rows, 4 vectors: two sequences decode as fast as one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        byte* x = tile.Row(0);
        nint row = (nint)(tile.Row(1) - x);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        byte* w2 = tile.Vector(2, lanes);
        byte* w3 = tile.Vector(3, lanes);
        TVector* sums = stackalloc TVector[8];
        LoadSums(tile, sums, 2, 4);
        for (int unit = tile.Units; unit > 0; unit--)
        {
            nint ahead = unit > 1 ? Int8Panel.UnitBytes : tile.NextStrip - (nint)(tile.Units - 1) * Int8Panel.UnitBytes;
            Prefetch(w0 + ahead);
            Prefetch(w2 + ahead);
            nint quad = Int8Panel.ScaleBytes;
            for (int shift = Int8Panel.FirstScaleShift; shift >= 0; shift -= Int8Panel.FirstScaleShift)
            {
                TInts i00 = TLanes.Broadcast((int*)x + 1), i10 = TLanes.Broadcast((int*)(x + row) + 1);
                TInts i01 = i00, i02 = i00, i03 = i00, i11 = i10, i12 = i10, i13 = i10;
                byte* pairs = x + Int8Inputs.HeaderBytes;
                for (nint end = quad + Int8Panel.GroupBytes; quad < end; quad += Int8Panel.QuadBytes, pairs += QuadInputBytes)
                {
                    nint next = quad + ahead;
                    Prefetch(w0 + next);
                    Prefetch(w2 + next);
                    TInts low0 = TLanes.Broadcast((int*)pairs), low1 = TLanes.Broadcast((int*)(pairs + row));
                    TInts high0 = TLanes.Broadcast((int*)pairs + 1), high1 = TLanes.Broadcast((int*)(pairs + row) + 1);
                    TInts w = TLanes.LoadInts(w0 + quad);
                    TInts p = TLanes.LowerBytes(w);
                    i00 = TLanes.AddProducts(i00, p, low0);
                    i10 = TLanes.AddProducts(i10, p, low1);
                    p = TLanes.UpperBytes(w);
                    i00 = TLanes.AddProducts(i00, p, high0);
                    i10 = TLanes.AddProducts(i10, p, high1);
                    w = TLanes.LoadInts(w1 + quad);
                    p = TLanes.LowerBytes(w);
                    i01 = TLanes.AddProducts(i01, p, low0);
                    i11 = TLanes.AddProducts(i11, p, low1);
                    p = TLanes.UpperBytes(w);
                    i01 = TLanes.AddProducts(i01, p, high0);
                    i11 = TLanes.AddProducts(i11, p, high1);
                    w = TLanes.LoadInts(w2 + quad);
                    p = TLanes.LowerBytes(w);
                    i02 = TLanes.AddProducts(i02, p, low0);
                    i12 = TLanes.AddProducts(i12, p, low1);
                    p = TLanes.UpperBytes(w);
                    i02 = TLanes.AddProducts(i02, p, high0);
                    i12 = TLanes.AddProducts(i12, p, high1);
                    w = TLanes.LoadInts(w3 + quad);
                    p = TLanes.LowerBytes(w);
                    i03 = TLanes.AddProducts(i03, p, low0);
                    i13 = TLanes.AddProducts(i13, p, low1);
                    p = TLanes.UpperBytes(w);
                    i03 = TLanes.AddProducts(i03, p, high0);
                    i13 = TLanes.AddProducts(i13, p, high1);
                }

                TVector scale0 = TLanes.Broadcast((float*)x), scale1 = TLanes.Broadcast((float*)(x + row));
                TVector scales = TLanes.OneOfPairs(w0, shift);
                sums[0] = Add(sums[0], i00, scale0, scales);
                sums[4] = Add(sums[4], i10, scale1, scales);
                scales = TLanes.OneOfPairs(w1, shift);
                sums[1] = Add(sums[1], i01, scale0, scales);
                sums[5] = Add(sums[5], i11, scale1, scales);
                scales = TLanes.OneOfPairs(w2, shift);
                sums[2] = Add(sums[2], i02, scale0, scales);
                sums[6] = Add(sums[6], i12, scale1, scales);
                scales = TLanes.OneOfPairs(w3, shift);
                sums[3] = Add(sums[3], i03, scale0, scales);
                sums[7] = Add(sums[7], i13, scale1, scales);
                x += Int8Inputs.GroupBytes;
            }

            w0 += Int8Panel.UnitBytes;
            w1 += Int8Panel.UnitBytes;
            w2 += Int8Panel.UnitBytes;
            w3 += Int8Panel.UnitBytes;
        }

        StoreSums(tile, sums, 2, 4);
    }

    /// <summary>4 rows, 2 vectors. The first tile of a strip fetches the next strip ahead.</summary>
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
        LoadSums(tile, sums, 4, 2);
        nint ahead = tile.AheadStep == 0 ? 0 : tile.NextStrip;
        for (int unit = tile.Units; unit > 0; unit--)
        {
            Prefetch(w0 + ahead);
            byte* quad = w0 + Int8Panel.ScaleBytes;
            nint second = (nint)(w1 - w0);
            for (int shift = Int8Panel.FirstScaleShift; shift >= 0; shift -= Int8Panel.FirstScaleShift)
            {
                TInts i00 = TLanes.Broadcast((int*)x0 + 1), i10 = TLanes.Broadcast((int*)x1 + 1), i20 = TLanes.Broadcast((int*)x2 + 1), i30 = TLanes.Broadcast((int*)x3 + 1);
                TInts i01 = i00, i11 = i10, i21 = i20, i31 = i30;
                for (nint pairs = Int8Inputs.HeaderBytes; pairs < Int8Inputs.GroupBytes; pairs += QuadInputBytes, quad += Int8Panel.QuadBytes)
                {
                    Prefetch(quad + ahead);
                    TInts w = TLanes.LoadInts(quad);
                    TInts l0 = TLanes.LowerBytes(w), h0 = TLanes.UpperBytes(w);
                    w = TLanes.LoadInts(quad + second);
                    TInts l1 = TLanes.LowerBytes(w), h1 = TLanes.UpperBytes(w);
                    TInts q = TLanes.Broadcast((int*)(x0 + pairs));
                    i00 = TLanes.AddProducts(i00, l0, q);
                    i01 = TLanes.AddProducts(i01, l1, q);
                    q = TLanes.Broadcast((int*)(x0 + pairs) + 1);
                    i00 = TLanes.AddProducts(i00, h0, q);
                    i01 = TLanes.AddProducts(i01, h1, q);
                    q = TLanes.Broadcast((int*)(x1 + pairs));
                    i10 = TLanes.AddProducts(i10, l0, q);
                    i11 = TLanes.AddProducts(i11, l1, q);
                    q = TLanes.Broadcast((int*)(x1 + pairs) + 1);
                    i10 = TLanes.AddProducts(i10, h0, q);
                    i11 = TLanes.AddProducts(i11, h1, q);
                    q = TLanes.Broadcast((int*)(x2 + pairs));
                    i20 = TLanes.AddProducts(i20, l0, q);
                    i21 = TLanes.AddProducts(i21, l1, q);
                    q = TLanes.Broadcast((int*)(x2 + pairs) + 1);
                    i20 = TLanes.AddProducts(i20, h0, q);
                    i21 = TLanes.AddProducts(i21, h1, q);
                    q = TLanes.Broadcast((int*)(x3 + pairs));
                    i30 = TLanes.AddProducts(i30, l0, q);
                    i31 = TLanes.AddProducts(i31, l1, q);
                    q = TLanes.Broadcast((int*)(x3 + pairs) + 1);
                    i30 = TLanes.AddProducts(i30, h0, q);
                    i31 = TLanes.AddProducts(i31, h1, q);
                }

                TVector scales0 = TLanes.OneOfPairs(w0, shift), scales1 = TLanes.OneOfPairs(w1, shift), scale = TLanes.Broadcast((float*)x0);
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
            }

            w0 += Int8Panel.UnitBytes;
            w1 += Int8Panel.UnitBytes;
        }

        StoreSums(tile, sums, 4, 2);
    }

    /// <summary>6 rows, 2 vectors: as <see cref="Rows4"/>, with weights read twice, for lack of registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows6(in GemmTile tile)
    {
        int lanes = TLanes.Count;
        byte* x0 = tile.Row(0);
        byte* x1 = tile.Row(1);
        byte* x2 = tile.Row(2);
        byte* x3 = tile.Row(3);
        byte* x4 = tile.Row(4);
        byte* x5 = tile.Row(5);
        byte* w0 = tile.Vector(0, lanes);
        byte* w1 = tile.Vector(1, lanes);
        TVector* sums = stackalloc TVector[12];
        LoadSums(tile, sums, 6, 2);
        nint ahead = tile.AheadStep == 0 ? 0 : tile.NextStrip;
        nint again = tile.Again;
        for (int unit = tile.Units; unit > 0; unit--)
        {
            Prefetch(w0 + ahead);
            byte* quad = w0 + Int8Panel.ScaleBytes;
            nint second = (nint)(w1 - w0);
            nint secondAgain = second + again;
            for (int shift = Int8Panel.FirstScaleShift; shift >= 0; shift -= Int8Panel.FirstScaleShift)
            {
                TInts i00 = TLanes.Broadcast((int*)x0 + 1), i10 = TLanes.Broadcast((int*)x1 + 1), i20 = TLanes.Broadcast((int*)x2 + 1), i30 = TLanes.Broadcast((int*)x3 + 1), i40 = TLanes.Broadcast((int*)x4 + 1), i50 = TLanes.Broadcast((int*)x5 + 1);
                TInts i01 = i00, i11 = i10, i21 = i20, i31 = i30, i41 = i40, i51 = i50;
                for (nint pairs = Int8Inputs.HeaderBytes; pairs < Int8Inputs.GroupBytes; pairs += QuadInputBytes, quad += Int8Panel.QuadBytes)
                {
                    Prefetch(quad + ahead);
                    TInts q;
                    TInts p0 = TLanes.LowerBytes(TLanes.LoadInts(quad)), p1 = TLanes.LowerBytes(TLanes.LoadInts(quad + second));
                    q = TLanes.Broadcast((int*)(x0 + pairs));
                    i00 = TLanes.AddProducts(i00, p0, q);
                    i01 = TLanes.AddProducts(i01, p1, q);
                    q = TLanes.Broadcast((int*)(x1 + pairs));
                    i10 = TLanes.AddProducts(i10, p0, q);
                    i11 = TLanes.AddProducts(i11, p1, q);
                    q = TLanes.Broadcast((int*)(x2 + pairs));
                    i20 = TLanes.AddProducts(i20, p0, q);
                    i21 = TLanes.AddProducts(i21, p1, q);
                    q = TLanes.Broadcast((int*)(x3 + pairs));
                    i30 = TLanes.AddProducts(i30, p0, q);
                    i31 = TLanes.AddProducts(i31, p1, q);
                    q = TLanes.Broadcast((int*)(x4 + pairs));
                    i40 = TLanes.AddProducts(i40, p0, q);
                    i41 = TLanes.AddProducts(i41, p1, q);
                    q = TLanes.Broadcast((int*)(x5 + pairs));
                    i50 = TLanes.AddProducts(i50, p0, q);
                    i51 = TLanes.AddProducts(i51, p1, q);
                    p0 = TLanes.UpperBytes(TLanes.LoadInts(quad + again));
                    p1 = TLanes.UpperBytes(TLanes.LoadInts(quad + secondAgain));
                    q = TLanes.Broadcast((int*)(x0 + pairs) + 1);
                    i00 = TLanes.AddProducts(i00, p0, q);
                    i01 = TLanes.AddProducts(i01, p1, q);
                    q = TLanes.Broadcast((int*)(x1 + pairs) + 1);
                    i10 = TLanes.AddProducts(i10, p0, q);
                    i11 = TLanes.AddProducts(i11, p1, q);
                    q = TLanes.Broadcast((int*)(x2 + pairs) + 1);
                    i20 = TLanes.AddProducts(i20, p0, q);
                    i21 = TLanes.AddProducts(i21, p1, q);
                    q = TLanes.Broadcast((int*)(x3 + pairs) + 1);
                    i30 = TLanes.AddProducts(i30, p0, q);
                    i31 = TLanes.AddProducts(i31, p1, q);
                    q = TLanes.Broadcast((int*)(x4 + pairs) + 1);
                    i40 = TLanes.AddProducts(i40, p0, q);
                    i41 = TLanes.AddProducts(i41, p1, q);
                    q = TLanes.Broadcast((int*)(x5 + pairs) + 1);
                    i50 = TLanes.AddProducts(i50, p0, q);
                    i51 = TLanes.AddProducts(i51, p1, q);
                }

                TVector scales0 = TLanes.OneOfPairs(w0, shift), scales1 = TLanes.OneOfPairs(w1, shift), scale;
                scale = TLanes.Broadcast((float*)x0);
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
                scale = TLanes.Broadcast((float*)x4);
                sums[8] = Add(sums[8], i40, scale, scales0);
                sums[9] = Add(sums[9], i41, scale, scales1);
                scale = TLanes.Broadcast((float*)x5);
                sums[10] = Add(sums[10], i50, scale, scales0);
                sums[11] = Add(sums[11], i51, scale, scales1);
                x0 += Int8Inputs.GroupBytes;
                x1 += Int8Inputs.GroupBytes;
                x2 += Int8Inputs.GroupBytes;
                x3 += Int8Inputs.GroupBytes;
                x4 += Int8Inputs.GroupBytes;
                x5 += Int8Inputs.GroupBytes;
            }

            w0 += Int8Panel.UnitBytes;
            w1 += Int8Panel.UnitBytes;
        }

        StoreSums(tile, sums, 6, 2);
    }

    private static void LoadSums(in GemmTile tile, TVector* sums, int rows, int vectors)
    {
        for (int i = 0; i < rows * vectors; i++)
        {
            sums[i] = TLanes.Load(tile.Start(i / vectors, i % vectors, TLanes.Count));
        }
    }

    private static void StoreSums(in GemmTile tile, TVector* sums, int rows, int vectors)
    {
        for (int i = 0; i < rows * vectors; i++)
        {
            TLanes.Store(sums[i], tile.Result(i / vectors, i % vectors, TLanes.Count));
        }
    }

    /// <summary>The scales' product is exact: one of them is a power of two.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Add(TVector sum, TInts ints, TVector inputScale, TVector weightScales) =>
        TLanes.MultiplyAdd(TLanes.ToFloats(ints), TLanes.Multiply(inputScale, weightScales), sum);

    /// <summary>Fetches a line, of the matrix or behind it: fetching what is no memory does nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* line)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0(line);
        }
    }
}
