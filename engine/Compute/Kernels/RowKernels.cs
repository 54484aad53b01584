using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>The element-wise and normalising steps between matrix products, for one row at a time.</summary>
internal static unsafe class RowKernels
{
    /// <summary>x += y over <paramref name="count"/> elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add(float* x, float* y, int count)
    {
        int i = 0;
        for (; i <= count - VectorMath.Lanes; i += VectorMath.Lanes)
        {
            (Vector256.Load(x + i) + Vector256.Load(y + i)).Store(x + i);
        }

        for (; i < count; i++)
        {
            x[i] += y[i];
        }
    }

    /// <summary>
    /// y = x / sqrt(mean(x^2) + epsilon) * weight. The squares are summed in eight lanes in ascending order.
    /// <paramref name="x"/> is padded with zeros to a multiple of 8.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RmsNorm(float* x, float* weight, float* y, int count, float epsilon)
    {
        var squares = Vector256<float>.Zero;
        for (int i = 0; i < count; i += VectorMath.Lanes)
        {
            var values = Vector256.Load(x + i);
            squares = Vector256.FusedMultiplyAdd(values, values, squares);
        }

        float scale = 1f / MathF.Sqrt(VectorMath.Sum(squares) / count + epsilon);
        int j = 0;
        for (; j <= count - VectorMath.Lanes; j += VectorMath.Lanes)
        {
            (Vector256.Load(x + j) * Vector256.Create(scale) * Vector256.Load(weight + j)).Store(y + j);
        }

        for (; j < count; j++)
        {
            y[j] = x[j] * scale * weight[j];
        }
    }

    /// <summary>y = gate * sigmoid(gate) * up over <paramref name="count"/> elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void SiluMultiply(float* gate, float* up, float* y, int count)
    {
        int i = 0;
        for (; i <= count - VectorMath.Lanes; i += VectorMath.Lanes)
        {
            SiluMultiply(Vector256.Load(gate + i), Vector256.Load(up + i)).Store(y + i);
        }

        if (i < count)
        {
            // The same vector code on a padded copy: a scalar tail would need an exponential of its own.
            float* padded = stackalloc float[2 * VectorMath.Lanes];
            new Span<float>(padded, 2 * VectorMath.Lanes).Clear();
            new ReadOnlySpan<float>(gate + i, count - i).CopyTo(new Span<float>(padded, VectorMath.Lanes));
            new ReadOnlySpan<float>(up + i, count - i).CopyTo(new Span<float>(padded + VectorMath.Lanes, VectorMath.Lanes));
            SiluMultiply(Vector256.Load(padded), Vector256.Load(padded + VectorMath.Lanes)).Store(padded);
            new ReadOnlySpan<float>(padded, count - i).CopyTo(new Span<float>(y + i, count - i));
        }
    }

    /// <summary>
    /// Rotates pairs (x[i], x[i + half]) by the position's angles, the half-rotation form of Hugging Face; x has 2 * half elements
    /// and is read before it is written, so <paramref name="y"/> may be <paramref name="x"/>.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rotate(float* x, float* cos, float* sin, float* y, int half)
    {
        int i = 0;
        for (; i <= half - VectorMath.Lanes; i += VectorMath.Lanes)
        {
            var (low, high) = (Vector256.Load(x + i), Vector256.Load(x + half + i));
            var (c, s) = (Vector256.Load(cos + i), Vector256.Load(sin + i));
            Vector256.FusedMultiplyAdd(-high, s, low * c).Store(y + i);
            Vector256.FusedMultiplyAdd(low, s, high * c).Store(y + half + i);
        }

        for (; i < half; i++)
        {
            var (low, high) = (x[i], x[half + i]);
            y[i] = MathF.FusedMultiplyAdd(-high, sin[i], low * cos[i]);
            y[half + i] = MathF.FusedMultiplyAdd(low, sin[i], high * cos[i]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> SiluMultiply(Vector256<float> gate, Vector256<float> up) =>
        gate / (Vector256<float>.One + VectorMath.Exp(-gate)) * up;
}
