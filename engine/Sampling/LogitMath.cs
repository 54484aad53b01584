using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Sampling;

/// <summary>Passes over all logits, eight at a time. Every machine gives the same bits: see <see cref="VectorMath"/>.</summary>
internal static class LogitMath
{
    /// <summary>Weights that are added at a time where the place of a share of the sum is looked for.</summary>
    private const int BlockValues = 256;

    /// <summary>The index of the first value that is <paramref name="max"/>, which is one of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int IndexOf(ReadOnlySpan<float> values, float max)
    {
        var maxima = Vector256.Create(max);
        var index = 0;
        for (; index <= values.Length - (4 * VectorMath.Lanes); index += 4 * VectorMath.Lanes)
        {
            var equal = Vector256.Equals(Load(values, index), maxima) | Vector256.Equals(Load(values, index + 8), maxima)
                | Vector256.Equals(Load(values, index + 16), maxima) | Vector256.Equals(Load(values, index + 24), maxima);
            if (equal.ExtractMostSignificantBits() != 0)
            {
                break;
            }
        }

        while (values[index] != max)
        {
            index++;
        }

        return index;
    }

    /// <summary>The largest of at least one value, none of which is NaN.</summary>
    public static float Max(ReadOnlySpan<float> values) => Max(values, out _);

    /// <summary>The largest of at least one value, and whether all are finite; without that the largest says nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Max(ReadOnlySpan<float> values, out bool finite)
    {
        // 0 times what is not finite is NaN, and stays NaN in a sum.
        Vector256<float> max0 = Vector256.Create(float.NegativeInfinity), max1 = max0, max2 = max0, max3 = max0;
        Vector256<float> zero0 = default, zero1 = default, zero2 = default, zero3 = default;
        var index = 0;
        for (; index <= values.Length - (4 * VectorMath.Lanes); index += 4 * VectorMath.Lanes)
        {
            var (a, b, c, d) = (Load(values, index), Load(values, index + 8), Load(values, index + 16), Load(values, index + 24));
            max0 = Vector256.MaxNative(max0, a);
            max1 = Vector256.MaxNative(max1, b);
            max2 = Vector256.MaxNative(max2, c);
            max3 = Vector256.MaxNative(max3, d);
            zero0 += a * Vector256<float>.Zero;
            zero1 += b * Vector256<float>.Zero;
            zero2 += c * Vector256<float>.Zero;
            zero3 += d * Vector256<float>.Zero;
        }

        var max = VectorMath.Max(Vector256.MaxNative(Vector256.MaxNative(max0, max1), Vector256.MaxNative(max2, max3)));
        var zero = VectorMath.Sum(zero0 + zero1 + (zero2 + zero3));
        for (; index < values.Length; index++)
        {
            max = MathF.Max(max, values[index]);
            zero += values[index] * 0;
        }

        finite = zero == 0;
        return max;
    }

    /// <summary>The sum of the weights in f64: value i in lane i mod 8, the lanes then added in their order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Sum(ReadOnlySpan<float> weights)
    {
        var (lower, upper) = (Vector256<double>.Zero, Vector256<double>.Zero);
        var index = 0;
        for (; index <= weights.Length - VectorMath.Lanes; index += VectorMath.Lanes)
        {
            var (low, high) = Vector256.Widen(Load(weights, index));
            lower += low;
            upper += high;
        }

        var sum = SumOfLanes(lower, upper);
        for (; index < weights.Length; index++)
        {
            sum += weights[index];
        }

        return sum;
    }

    /// <summary>
    /// The first index up to which the weights add up to more than <paramref name="share"/>, in 0..1, of all of them; the last one above 0 where rounding
    /// leaves none. Sums are those of blocks, added in their order.
    /// </summary>
    public static int IndexOfShare(ReadOnlySpan<float> weights, double share)
    {
        var total = 0.0;
        for (var first = 0; first < weights.Length; first += BlockValues)
        {
            total += Sum(weights[first..Math.Min(weights.Length, first + BlockValues)]);
        }

        var target = share * total;
        var sum = 0.0;
        for (var first = 0; first < weights.Length; first += BlockValues)
        {
            var block = weights[first..Math.Min(weights.Length, first + BlockValues)];
            var after = sum + Sum(block);
            for (var index = 0; after > target && index < block.Length; index++)
            {
                sum += block[index];
                if (sum > target)
                {
                    return first + index;
                }
            }

            sum = after;
        }

        return weights.LastIndexOfAnyExcept(0f);
    }

    /// <summary>weights = e^((scores - max) / temperature).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Weights(ReadOnlySpan<float> scores, float max, float temperature, Span<float> weights)
    {
        var (maxima, temperatures) = (Vector256.Create(max), Vector256.Create(temperature));
        Span<float> last = stackalloc float[VectorMath.Lanes];
        var index = 0;
        for (; index <= scores.Length - VectorMath.Lanes; index += VectorMath.Lanes)
        {
            VectorMath.Exp((Load(scores, index) - maxima) / temperatures).StoreUnsafe(ref MemoryMarshal.GetReference(weights), (nuint)index);
        }

        if (index < scores.Length)
        {
            // The same vector code on a padded copy, for the same bits wherever a token stands.
            last.Clear();
            scores[index..].CopyTo(last);
            VectorMath.Exp((Load(last, 0) - maxima) / temperatures).CopyTo(last);
            last[..(scores.Length - index)].CopyTo(weights[index..]);
        }
    }

    /// <summary>The sum of e^(value - max), in f64: value i in lane i mod 8, the lanes then added in their order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double SumOfExponentials(ReadOnlySpan<float> values, float max)
    {
        var (lower, upper) = (Vector256<double>.Zero, Vector256<double>.Zero);
        var index = 0;
        for (; index <= values.Length - VectorMath.Lanes; index += VectorMath.Lanes)
        {
            var (low, high) = Vector256.Widen(VectorMath.Exp(Load(values, index) - Vector256.Create(max)));
            lower += low;
            upper += high;
        }

        if (index < values.Length)
        {
            Span<float> last = stackalloc float[VectorMath.Lanes];
            last.Fill(float.NegativeInfinity);
            values[index..].CopyTo(last);
            var (low, high) = Vector256.Widen(VectorMath.Exp(Load(last, 0) - Vector256.Create(max)));
            lower += low;
            upper += high;
        }

        return SumOfLanes(lower, upper);
    }

    private static double SumOfLanes(Vector256<double> lower, Vector256<double> upper)
    {
        var sum = 0.0;
        for (var lane = 0; lane < VectorMath.Lanes; lane++)
        {
            sum += lane < 4 ? lower[lane] : upper[lane - 4];
        }

        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Load(ReadOnlySpan<float> values, int index) => Vector256.LoadUnsafe(ref MemoryMarshal.GetReference(values), (nuint)index);
}
