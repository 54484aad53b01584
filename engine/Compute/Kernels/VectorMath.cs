using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// Arithmetic on eight lanes, the fixed shape of everything that sums across lanes. Uses operations that round as IEEE 754 says and
/// nothing else (no library function, no estimate), so every machine gives the same bits.
/// </summary>
internal static class VectorMath
{
    /// <summary>Floats in a vector here, on every machine.</summary>
    public const int Lanes = 8;

    private const float Log2E = 1.44269504f;

    /// <summary>ln 2 in two parts; products of the first with integers up to 2^9 are exact.</summary>
    private const float Ln2High = 0.693359375f;
    private const float Ln2Low = -2.12194440e-4f;

    /// <summary>1.5 * 2^23: adding and subtracting it rounds to the nearest integer.</summary>
    private const float RoundingConstant = 12582912f;

    /// <summary>Below this e^x is under the smallest normal number and given as 0.</summary>
    private const float MinExponent = -87.33f;
    private const float MaxExponent = 88.37f;

    /// <summary>((l0+l4)+(l2+l6)) + ((l1+l5)+(l3+l7)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256<float> value)
    {
        var four = value.GetLower() + value.GetUpper();
        var two = four + Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1));
        return two.ToScalar() + two.GetElement(1);
    }

    /// <summary>The <see cref="Sum"/> of each of eight vectors, the same bits, with fewer instructions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Sums(
        Vector256<float> v0, Vector256<float> v1, Vector256<float> v2, Vector256<float> v3,
        Vector256<float> v4, Vector256<float> v5, Vector256<float> v6, Vector256<float> v7)
    {
        // Lower half: vectors 0..3, upper half: 4..7. First l0+l4, l1+l5, l2+l6, l3+l7 of each.
        var f0 = AddHalves(v0, v4);
        var f1 = AddHalves(v1, v5);
        var f2 = AddHalves(v2, v6);
        var f3 = AddHalves(v3, v7);

        // Then elements 0+2 of two vectors beside elements 1+3 of the same, and last the sum of these two.
        var f01 = ZipLow(f0, f1) + ZipHigh(f0, f1);
        var f23 = ZipLow(f2, f3) + ZipHigh(f2, f3);
        return ZipLow(f01.AsDouble(), f23.AsDouble()).AsSingle() + ZipHigh(f01.AsDouble(), f23.AsDouble()).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Max(Vector256<float> value)
    {
        var four = Vector128.Max(value.GetLower(), value.GetUpper());
        var two = Vector128.Max(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return MathF.Max(two.ToScalar(), two.GetElement(1));
    }

    /// <summary>
    /// e^x to about 1 unit in the last place: x = n ln 2 + r with |r| at most ln 2 / 2, a polynomial of degree 6 for e^r, and n added to
    /// the exponent. 0 below <see cref="MinExponent"/>, e^<see cref="MaxExponent"/> above.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> x)
    {
        var clamped = Vector256.Min(Vector256.Max(x, Vector256.Create(MinExponent)), Vector256.Create(MaxExponent));
        var n = Vector256.FusedMultiplyAdd(clamped, Vector256.Create(Log2E), Vector256.Create(RoundingConstant)) - Vector256.Create(RoundingConstant);
        var r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-Ln2High), clamped);
        r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-Ln2Low), r);

        // Minimax coefficients of (e^r - 1 - r) / r^2 on [-ln 2 / 2, ln 2 / 2] (Cephes expf).
        var p = Vector256.Create(1.9875691500e-4f);
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(1.3981999507e-3f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(8.3334519073e-3f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(4.1665795894e-2f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(1.6666665459e-1f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(5.0000001201e-1f));
        p = Vector256.FusedMultiplyAdd(p, r * r, r + Vector256<float>.One);

        var scale = ((Vector256.ConvertToInt32(n) + Vector256.Create(127)) << 23).AsSingle();
        return Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256.Create(MinExponent)), Vector256<float>.Zero, p * scale);
    }

    /// <summary>tanh x to about 2 units in the last place: an odd polynomial below 0.625, 1 - 2 / (e^(2|x|) + 1) above (Cephes tanhf).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Tanh(Vector256<float> x)
    {
        var square = x * x;
        var p = Vector256.Create(-5.70498872745e-3f);
        p = Vector256.FusedMultiplyAdd(p, square, Vector256.Create(2.06390887954e-2f));
        p = Vector256.FusedMultiplyAdd(p, square, Vector256.Create(-5.37397155531e-2f));
        p = Vector256.FusedMultiplyAdd(p, square, Vector256.Create(1.33314422036e-1f));
        p = Vector256.FusedMultiplyAdd(p, square, Vector256.Create(-3.33332819422e-1f));
        var small = Vector256.FusedMultiplyAdd(p * square, x, x);

        var size = Vector256.Abs(x);
        var large = Vector256<float>.One - Vector256.Create(2f) / (Exp(size + size) + Vector256<float>.One);
        large |= x & Vector256.Create(-0f);
        return Vector256.ConditionalSelect(Vector256.LessThan(size, Vector256.Create(0.625f)), small, large);
    }

    /// <summary>Turns eight rows of eight elements over: target[j, i] = source[i, j]. Strides are in floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Transpose(float* source, nint sourceStride, float* target, nint targetStride)
    {
        var (r0, r1, r2, r3) = (Vector256.Load(source), Vector256.Load(source + sourceStride), Vector256.Load(source + 2 * sourceStride), Vector256.Load(source + 3 * sourceStride));
        source += 4 * sourceStride;
        var (r4, r5, r6, r7) = (Vector256.Load(source), Vector256.Load(source + sourceStride), Vector256.Load(source + 2 * sourceStride), Vector256.Load(source + 3 * sourceStride));

        // Within the halves of 128 bits: pairs of rows, then fours; then the halves change places.
        var (a0, a1, a2, a3) = (ZipLow(r0, r1), ZipHigh(r0, r1), ZipLow(r2, r3), ZipHigh(r2, r3));
        var (a4, a5, a6, a7) = (ZipLow(r4, r5), ZipHigh(r4, r5), ZipLow(r6, r7), ZipHigh(r6, r7));
        var (b0, b1, b2, b3) = (ZipLow(a0.AsDouble(), a2.AsDouble()), ZipHigh(a0.AsDouble(), a2.AsDouble()), ZipLow(a1.AsDouble(), a3.AsDouble()), ZipHigh(a1.AsDouble(), a3.AsDouble()));
        var (b4, b5, b6, b7) = (ZipLow(a4.AsDouble(), a6.AsDouble()), ZipHigh(a4.AsDouble(), a6.AsDouble()), ZipLow(a5.AsDouble(), a7.AsDouble()), ZipHigh(a5.AsDouble(), a7.AsDouble()));
        StoreHalves(b0, b4, target, targetStride);
        StoreHalves(b1, b5, target + targetStride, targetStride);
        StoreHalves(b2, b6, target + 2 * targetStride, targetStride);
        StoreHalves(b3, b7, target + 3 * targetStride, targetStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> AddHalves(Vector256<float> low, Vector256<float> high) =>
        Vector256.Create(low.GetLower(), high.GetLower()) + Vector256.Create(low.GetUpper(), high.GetUpper());

    /// <summary>The lower halves of two vectors to row 0, the upper ones to row 4.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void StoreHalves(Vector256<double> first, Vector256<double> second, float* rows, nint stride)
    {
        Vector256.Create(first.GetLower(), second.GetLower()).AsSingle().Store(rows);
        Vector256.Create(first.GetUpper(), second.GetUpper()).AsSingle().Store(rows + 4 * stride);
    }

    /// <summary>Interleaves the first two elements of each 128-bit half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> ZipLow(Vector256<float> a, Vector256<float> b) => Avx.IsSupported
        ? Avx.UnpackLow(a, b)
        : Vector256.Create(a[0], b[0], a[1], b[1], a[4], b[4], a[5], b[5]);

    /// <summary>Interleaves the last two elements of each 128-bit half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> ZipHigh(Vector256<float> a, Vector256<float> b) => Avx.IsSupported
        ? Avx.UnpackHigh(a, b)
        : Vector256.Create(a[2], b[2], a[3], b[3], a[6], b[6], a[7], b[7]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<double> ZipLow(Vector256<double> a, Vector256<double> b) => Avx.IsSupported
        ? Avx.UnpackLow(a, b)
        : Vector256.Create(a[0], b[0], a[2], b[2]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<double> ZipHigh(Vector256<double> a, Vector256<double> b) => Avx.IsSupported
        ? Avx.UnpackHigh(a, b)
        : Vector256.Create(a[1], b[1], a[3], b[3]);
}
