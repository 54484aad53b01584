using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

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
}
