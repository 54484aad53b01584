using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Sampling;

/// <summary>Passes over all logits, eight at a time. Every machine gives the same bits: see <see cref="VectorMath"/>.</summary>
internal static class LogitMath
{
    /// <summary>The index of the largest value, of equal ones the lowest. No value is NaN.</summary>
    public static int ArgMax(ReadOnlySpan<float> values)
    {
        var max = Max(values);
        var index = 0;
        for (; index <= values.Length - VectorMath.Lanes; index += VectorMath.Lanes)
        {
            if (Vector256.EqualsAny(Load(values, index), Vector256.Create(max)))
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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Max(ReadOnlySpan<float> values)
    {
        var maxima = Vector256.Create(float.NegativeInfinity);
        var index = 0;
        for (; index <= values.Length - VectorMath.Lanes; index += VectorMath.Lanes)
        {
            maxima = Vector256.Max(maxima, Load(values, index));
        }

        var max = VectorMath.Max(maxima);
        for (; index < values.Length; index++)
        {
            max = MathF.Max(max, values[index]);
        }

        return max;
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
