using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Checkpoints;

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

    /// <summary>x += weight * y over <paramref name="count"/> elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddScaled(float* x, float* y, float weight, int count)
    {
        int i = 0;
        for (; i <= count - VectorMath.Lanes; i += VectorMath.Lanes)
        {
            Vector256.FusedMultiplyAdd(Vector256.Load(y + i), Vector256.Create(weight), Vector256.Load(x + i)).Store(x + i);
        }

        for (; i < count; i++)
        {
            x[i] = MathF.FusedMultiplyAdd(y[i], weight, x[i]);
        }
    }

    /// <summary>x *= factor over <paramref name="count"/> elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scale(float* x, float factor, int count)
    {
        int i = 0;
        for (; i <= count - VectorMath.Lanes; i += VectorMath.Lanes)
        {
            (Vector256.Load(x + i) * Vector256.Create(factor)).Store(x + i);
        }

        for (; i < count; i++)
        {
            x[i] *= factor;
        }
    }

    /// <summary>x = cap * tanh(x / cap) over <paramref name="count"/> elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void SoftCap(float* x, float cap, int count)
    {
        int i = 0;
        for (; i <= count - VectorMath.Lanes; i += VectorMath.Lanes)
        {
            SoftCap(Vector256.Load(x + i), cap).Store(x + i);
        }

        if (i < count)
        {
            float* padded = stackalloc float[VectorMath.Lanes];
            new Span<float>(padded, VectorMath.Lanes).Clear();
            new ReadOnlySpan<float>(x + i, count - i).CopyTo(new Span<float>(padded, VectorMath.Lanes));
            SoftCap(Vector256.Load(padded), cap).Store(padded);
            new ReadOnlySpan<float>(padded, count - i).CopyTo(new Span<float>(x + i, count - i));
        }
    }

    /// <summary>y = activation(gate) * up over <paramref name="count"/> elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ActivateMultiply(Activation activation, float* gate, float* up, float* y, int count)
    {
        int i = 0;
        for (; i <= count - VectorMath.Lanes; i += VectorMath.Lanes)
        {
            (Activate(activation, Vector256.Load(gate + i)) * Vector256.Load(up + i)).Store(y + i);
        }

        if (i < count)
        {
            // The same vector code on a padded copy: a scalar tail would need an exponential of its own.
            float* padded = stackalloc float[2 * VectorMath.Lanes];
            new Span<float>(padded, 2 * VectorMath.Lanes).Clear();
            new ReadOnlySpan<float>(gate + i, count - i).CopyTo(new Span<float>(padded, VectorMath.Lanes));
            new ReadOnlySpan<float>(up + i, count - i).CopyTo(new Span<float>(padded + VectorMath.Lanes, VectorMath.Lanes));
            (Activate(activation, Vector256.Load(padded)) * Vector256.Load(padded + VectorMath.Lanes)).Store(padded);
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
    private static Vector256<float> Activate(Activation activation, Vector256<float> x)
    {
        if (activation == Activation.Silu)
        {
            return x / (Vector256<float>.One + VectorMath.Exp(-x));
        }

        var cube = x * x * x;
        var inner = Vector256.Create(0.797884561f) * Vector256.FusedMultiplyAdd(cube, Vector256.Create(0.044715f), x);
        return Vector256.Create(0.5f) * x * (Vector256<float>.One + VectorMath.Tanh(inner));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> SoftCap(Vector256<float> x, float cap) => Vector256.Create(cap) * VectorMath.Tanh(x / Vector256.Create(cap));
}
