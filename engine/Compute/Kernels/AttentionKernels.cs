using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// The parts of attention over a run of cached tokens of one head. A token's score is a dot product of fixed shape, the softmax sums
/// token t in lane t mod 8 of the visible range, and a value's sum is one chain over the tokens: so where pages begin has no influence.
/// Head dimensions are multiples of 8. Runs come from memory in pieces too short for the processor's own prefetchers: where "ahead" is not 0, a run so many
/// bytes further is fetched while this one is computed with.
/// </summary>
internal static unsafe class AttentionKernels
{
    private const int Line = 64;

    /// <summary>
    /// scores[h, t] = scale * (queries[h] . keys[t]) for tokens 0..count, for the heads that share these keys; keys are <c>[count, headDim]</c>, queries
    /// <c>[heads, headDim]</c>, scores <c>[heads, scoreStride]</c>. A count of 0 or less computes nothing.
    /// </summary>
    public static void Scores(float* queries, int heads, float* keys, int count, int headDim, float scale, float* scores, int scoreStride, nint ahead = 0)
    {
        int head = 0;
        for (; head <= heads - 2; head += 2)
        {
            ScoresOfTwo(queries + head * headDim, keys, count, headDim, scale, scores + (nint)head * scoreStride, scoreStride, head == 0 ? ahead : 0);
        }

        if (head < heads)
        {
            ScoresOfOne(queries + head * headDim, keys, count, headDim, scale, scores + (nint)head * scoreStride, head == 0 ? ahead : 0);
        }
    }

    /// <summary>
    /// Replaces scores by e^(score - max) and returns their sum. The buffer has room for count rounded up to 8; the padding is written.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Exponentials(float* scores, int count)
    {
        int padded = (count + VectorMath.Lanes - 1) / VectorMath.Lanes * VectorMath.Lanes;
        for (int t = count; t < padded; t++)
        {
            scores[t] = float.NegativeInfinity;
        }

        var maxima = Vector256.Create(float.NegativeInfinity);
        for (int t = 0; t < padded; t += VectorMath.Lanes)
        {
            maxima = Vector256.Max(maxima, Vector256.Load(scores + t));
        }

        var max = Vector256.Create(VectorMath.Max(maxima));
        var sums = Vector256<float>.Zero;
        for (int t = 0; t < padded; t += VectorMath.Lanes)
        {
            var weights = VectorMath.Exp(Vector256.Load(scores + t) - max);
            weights.Store(scores + t);
            sums += weights;
        }

        return VectorMath.Sum(sums);
    }

    /// <summary>
    /// outputs[h, d] += weights[h, t] * values[t, d] for tokens 0..count in ascending order, for the heads that share these values;
    /// values are <c>[count, headDim]</c>, outputs <c>[heads, headDim]</c>, weights <c>[heads, weightStride]</c>.
    /// </summary>
    public static void Accumulate(float* weights, int weightStride, int heads, float* values, int count, int headDim, float* outputs, nint ahead = 0)
    {
        int head = 0;
        for (; head <= heads - 2; head += 2)
        {
            float* w = weights + (nint)head * weightStride;
            float* output = outputs + head * headDim;
            int d = 0;
            for (; d <= headDim - 32; d += 32)
            {
                AccumulateTwoHeads(w, w + weightStride, values + d, count, headDim, output + d, head == 0 ? ahead : 0);
            }

            for (; d < headDim; d += VectorMath.Lanes)
            {
                Accumulate8(w, values + d, count, headDim, output + d);
                Accumulate8(w + weightStride, values + d, count, headDim, output + headDim + d);
            }
        }

        if (head < heads)
        {
            AccumulateHead(weights + (nint)head * weightStride, values, count, headDim, outputs + head * headDim, head == 0 ? ahead : 0);
        }
    }

    /// <summary>x /= divisor over <paramref name="count"/> elements, a multiple of 8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Divide(float* x, float divisor, int count)
    {
        for (int i = 0; i < count; i += VectorMath.Lanes)
        {
            (Vector256.Load(x + i) / Vector256.Create(divisor)).Store(x + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ScoresOfOne(float* query, float* keys, int count, int headDim, float scale, float* scores, nint ahead)
    {
        int t = 0;
        for (; t <= count - 8; t += 8)
        {
            float* k = keys + (nint)t * headDim;
            nint width = headDim;
            byte* next = (byte*)k + ahead;
            Vector256<float> s0 = default, s1 = default, s2 = default, s3 = default, s4 = default, s5 = default, s6 = default, s7 = default;
            for (nint d = 0; d < headDim; d += VectorMath.Lanes, k += VectorMath.Lanes)
            {
                if (ahead != 0)
                {
                    Prefetch(next);
                    Prefetch(next + Line);
                    Prefetch(next + 2 * Line);
                    Prefetch(next + 3 * Line);
                    next += 4 * Line;
                }

                float* k3 = k + 3 * width;
                float* k6 = k3 + 3 * width;
                var q = Vector256.Load(query + d);
                s0 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k), s0);
                s1 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k + width), s1);
                s2 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k + 2 * width), s2);
                s3 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k3), s3);
                s4 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k3 + width), s4);
                s5 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k3 + 2 * width), s5);
                s6 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k6), s6);
                s7 = Vector256.FusedMultiplyAdd(q, Vector256.Load(k6 + width), s7);
            }

            (VectorMath.Sums(s0, s1, s2, s3, s4, s5, s6, s7) * Vector256.Create(scale)).Store(scores + t);
        }

        for (; t < count; t++)
        {
            float* k = keys + (nint)t * headDim;
            var sum = Vector256<float>.Zero;
            for (nint d = 0; d < headDim; d += VectorMath.Lanes)
            {
                sum = Vector256.FusedMultiplyAdd(Vector256.Load(query + d), Vector256.Load(k + d), sum);
            }

            scores[t] = VectorMath.Sum(sum) * scale;
        }
    }

    /// <summary>Two heads by four tokens at a time: a key is loaded once for both.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ScoresOfTwo(float* queries, float* keys, int count, int headDim, float scale, float* scores, int scoreStride, nint ahead)
    {
        int t = 0;
        nint width = headDim;
        for (; t <= count - 4; t += 4)
        {
            float* k = keys + t * width;
            float* q = queries;
            byte* next = (byte*)k + ahead;
            Vector256<float> s0 = default, s1 = default, s2 = default, s3 = default, u0 = default, u1 = default, u2 = default, u3 = default;
            for (nint d = 0; d < width; d += VectorMath.Lanes, k += VectorMath.Lanes, q += VectorMath.Lanes)
            {
                if (ahead != 0)
                {
                    Prefetch(next);
                    Prefetch(next + Line);
                    next += 2 * Line;
                }

                var (first, second) = (Vector256.Load(q), Vector256.Load(q + width));
                var key = Vector256.Load(k);
                s0 = Vector256.FusedMultiplyAdd(first, key, s0);
                u0 = Vector256.FusedMultiplyAdd(second, key, u0);
                key = Vector256.Load(k + width);
                s1 = Vector256.FusedMultiplyAdd(first, key, s1);
                u1 = Vector256.FusedMultiplyAdd(second, key, u1);
                key = Vector256.Load(k + 2 * width);
                s2 = Vector256.FusedMultiplyAdd(first, key, s2);
                u2 = Vector256.FusedMultiplyAdd(second, key, u2);
                key = Vector256.Load(k + 3 * width);
                s3 = Vector256.FusedMultiplyAdd(first, key, s3);
                u3 = Vector256.FusedMultiplyAdd(second, key, u3);
            }

            var sums = VectorMath.Sums(s0, s1, s2, s3, u0, u1, u2, u3) * Vector256.Create(scale);
            sums.GetLower().Store(scores + t);
            sums.GetUpper().Store(scores + scoreStride + t);
        }

        if (t < count)
        {
            ScoresOfOne(queries, keys + t * width, count - t, headDim, scale, scores + t, ahead);
            ScoresOfOne(queries + headDim, keys + t * width, count - t, headDim, scale, scores + scoreStride + t, 0);
        }
    }

    private static void AccumulateHead(float* weights, float* values, int count, int headDim, float* output, nint ahead)
    {
        int d = 0;
        for (; d <= headDim - 64; d += 64)
        {
            Accumulate64(weights, values + d, count, headDim, output + d, ahead);
        }

        for (; d <= headDim - 32; d += 32)
        {
            Accumulate32(weights, values + d, count, headDim, output + d);
        }

        for (; d < headDim; d += VectorMath.Lanes)
        {
            Accumulate8(weights, values + d, count, headDim, output + d);
        }
    }

    /// <summary>32 elements of two heads that share the values: eight chains, as many as cover the latency of a multiply-add.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AccumulateTwoHeads(float* first, float* second, float* values, int count, nint headDim, float* output, nint ahead)
    {
        float* output2 = output + headDim;
        var s0 = Vector256.Load(output);
        var s1 = Vector256.Load(output + 8);
        var s2 = Vector256.Load(output + 16);
        var s3 = Vector256.Load(output + 24);
        var s4 = Vector256.Load(output2);
        var s5 = Vector256.Load(output2 + 8);
        var s6 = Vector256.Load(output2 + 16);
        var s7 = Vector256.Load(output2 + 24);
        for (int t = 0; t < count; t++, values += headDim)
        {
            if (ahead != 0)
            {
                Prefetch((byte*)values + ahead);
                Prefetch((byte*)values + ahead + Line);
            }

            var (w, u) = (Vector256.Create(first[t]), Vector256.Create(second[t]));
            var v = Vector256.Load(values);
            s0 = Vector256.FusedMultiplyAdd(w, v, s0);
            s4 = Vector256.FusedMultiplyAdd(u, v, s4);
            v = Vector256.Load(values + 8);
            s1 = Vector256.FusedMultiplyAdd(w, v, s1);
            s5 = Vector256.FusedMultiplyAdd(u, v, s5);
            v = Vector256.Load(values + 16);
            s2 = Vector256.FusedMultiplyAdd(w, v, s2);
            s6 = Vector256.FusedMultiplyAdd(u, v, s6);
            v = Vector256.Load(values + 24);
            s3 = Vector256.FusedMultiplyAdd(w, v, s3);
            s7 = Vector256.FusedMultiplyAdd(u, v, s7);
        }

        s0.Store(output);
        s1.Store(output + 8);
        s2.Store(output + 16);
        s3.Store(output + 24);
        s4.Store(output2);
        s5.Store(output2 + 8);
        s6.Store(output2 + 16);
        s7.Store(output2 + 24);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Accumulate64(float* weights, float* values, int count, nint headDim, float* output, nint ahead)
    {
        var s0 = Vector256.Load(output);
        var s1 = Vector256.Load(output + 8);
        var s2 = Vector256.Load(output + 16);
        var s3 = Vector256.Load(output + 24);
        var s4 = Vector256.Load(output + 32);
        var s5 = Vector256.Load(output + 40);
        var s6 = Vector256.Load(output + 48);
        var s7 = Vector256.Load(output + 56);
        for (int t = 0; t < count; t++, values += headDim)
        {
            if (ahead != 0)
            {
                Prefetch((byte*)values + ahead);
                Prefetch((byte*)values + ahead + Line);
                Prefetch((byte*)values + ahead + 2 * Line);
                Prefetch((byte*)values + ahead + 3 * Line);
            }

            var w = Vector256.Create(weights[t]);
            s0 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values), s0);
            s1 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 8), s1);
            s2 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 16), s2);
            s3 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 24), s3);
            s4 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 32), s4);
            s5 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 40), s5);
            s6 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 48), s6);
            s7 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 56), s7);
        }

        s0.Store(output);
        s1.Store(output + 8);
        s2.Store(output + 16);
        s3.Store(output + 24);
        s4.Store(output + 32);
        s5.Store(output + 40);
        s6.Store(output + 48);
        s7.Store(output + 56);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Accumulate32(float* weights, float* values, int count, nint headDim, float* output)
    {
        var s0 = Vector256.Load(output);
        var s1 = Vector256.Load(output + 8);
        var s2 = Vector256.Load(output + 16);
        var s3 = Vector256.Load(output + 24);
        for (int t = 0; t < count; t++, values += headDim)
        {
            var w = Vector256.Create(weights[t]);
            s0 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values), s0);
            s1 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 8), s1);
            s2 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 16), s2);
            s3 = Vector256.FusedMultiplyAdd(w, Vector256.Load(values + 24), s3);
        }

        s0.Store(output);
        s1.Store(output + 8);
        s2.Store(output + 16);
        s3.Store(output + 24);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Accumulate8(float* weights, float* values, int count, nint headDim, float* output)
    {
        var sum = Vector256.Load(output);
        for (int t = 0; t < count; t++, values += headDim)
        {
            sum = Vector256.FusedMultiplyAdd(Vector256.Create(weights[t]), Vector256.Load(values), sum);
        }

        sum.Store(output);
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
