using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// Attention of many queries to the same run of tokens, as matrix products: tiles of six queries by sixteen tokens, or elements of values, whose sums stay in registers.
/// Every number is the same chain of operations as in <see cref="AttentionKernels"/>, where the lanes of a vector are elements of a key: here they are tokens, and
/// what is summed across lanes there is summed down the vectors here, in the same order. Head dimensions are multiples of 8.
/// </summary>
internal static unsafe class AttentionTiles
{
    /// <summary>Most tokens of a run.</summary>
    public const int RunTokens = 32;

    /// <summary>Queries from which turning the keys over pays.</summary>
    public const int LeastQueries = 16;

    /// <summary>Tokens of a tile: scores are written for whole tiles.</summary>
    public const int TileTokens = 16;

    /// <summary>Queries of a tile: twelve sums, two keys or values and a query fill the registers of AVX2.</summary>
    public const int TileQueries = 6;
    private const int Lanes = VectorMath.Lanes;
    private const int LineFloats = 16;

    /// <summary>columns[d, t] = rows[t, d] for tokens 0..count, rounded up to whole tiles: rows <c>[RunTokens, headDim]</c>, columns <c>[headDim, RunTokens]</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(float* rows, int count, int headDim, float* columns)
    {
        for (int t = 0; t < (count + TileTokens - 1) / TileTokens * TileTokens; t += Lanes)
        {
            for (int d = 0; d < headDim; d += Lanes)
            {
                VectorMath.Transpose(rows + t * headDim + d, headDim, columns + d * RunTokens + t, RunTokens);
            }
        }
    }

    /// <summary>Puts queries as tiles read them, <c>[tiles, headDim, queries of a tile]</c>; a tile that is not full may have anything in its other places.</summary>
    /// <param name="query">The number of <paramref name="source"/>, <c>[headDim]</c>.</param>
    public static void Pack(float* source, int query, int headDim, float* packed)
    {
        packed += query / TileQueries * TileQueries * headDim + query % TileQueries;
        for (int d = 0; d < headDim; d++)
        {
            packed[d * TileQueries] = source[d];
        }
    }

    /// <summary>
    /// scores[q][t] = scale * (queries[q] . keys[t]) for tokens 0..count, rounded up to whole tiles; what is written behind the last token is no number to rely on.
    /// </summary>
    /// <param name="queries">As <see cref="Pack"/> leaves them.</param>
    /// <param name="keys"><c>[headDim, RunTokens]</c>.</param>
    /// <param name="scores">[queries].</param>
    public static void Scores(float* queries, float* keys, int count, int headDim, float scale, ReadOnlySpan<nint> scores)
    {
        for (int q = 0; q < scores.Length; q += TileQueries, queries += TileQueries * headDim)
        {
            FetchNextRun(scores, q);
            for (int t = 0; t < count; t += TileTokens)
            {
                ScoresOfTile(queries, keys + t, headDim, scale, scores, q, t);
            }
        }
    }

    /// <summary>outputs[q][d] += weights[q][t] * values[t, d] for tokens 0..count in ascending order; values are <c>[count, headDim]</c>.</summary>
    public static void Accumulate(ReadOnlySpan<nint> weights, float* values, int count, int headDim, ReadOnlySpan<nint> outputs)
    {
        for (int q = 0; q < weights.Length; q += TileQueries)
        {
            FetchNextRun(weights, q);
            int d = 0;
            for (; d <= headDim - 2 * Lanes; d += 2 * Lanes)
            {
                AccumulateTile(weights, q, values + d, count, headDim, outputs, d);
            }

            if (d < headDim)
            {
                AccumulateHalfTile(weights, q, values + d, count, headDim, outputs, d);
            }
        }
    }

    /// <summary>A query of a tile; those past the last repeat it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float* Of(ReadOnlySpan<nint> rows, int row) => (float*)rows[Math.Min(row, rows.Length - 1)];

    /// <summary>Rows of many tokens do not stay in the caches, and what a run has of one is too short for the processor's own prefetchers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FetchNextRun(ReadOnlySpan<nint> rows, int row)
    {
        for (int i = row; Sse.IsSupported && i < Math.Min(row + TileQueries, rows.Length); i++)
        {
            float* next = (float*)rows[i] + RunTokens;
            Sse.Prefetch0(next);
            Sse.Prefetch0(next + LineFloats);
        }
    }

    /// <summary>
    /// Elements d of a query are summed by d mod 8, as lanes of a vector would, and the eight sums are added as <see cref="VectorMath.Sum"/> adds lanes:
    /// ((0+4)+(2+6)) + ((1+5)+(3+7)).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private static void ScoresOfTile(float* queries, float* keys, int headDim, float scale, ReadOnlySpan<nint> scores, int query, int offset)
    {

        // [residues, sums].
        const int Sums = 2 * TileQueries;
        Vector256<float>* sums = stackalloc Vector256<float>[Lanes * Sums];
        Vector256<float>* sum = sums;
        for (nint residue = 0; residue < Lanes; residue++, sum += Sums)
        {
            Vector256<float> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default, s40 = default, s41 = default, s50 = default, s51 = default;
            float* k = keys + residue * RunTokens;
            float* x = queries + residue * TileQueries;
            for (nint d = residue; d < headDim; d += Lanes, k += Lanes * RunTokens, x += Lanes * TileQueries)
            {
                var (k0, k1) = (Vector256.Load(k), Vector256.Load(k + Lanes));
                var q = Vector256.Create(x[0]);
                s00 = Vector256.FusedMultiplyAdd(q, k0, s00);
                s01 = Vector256.FusedMultiplyAdd(q, k1, s01);
                q = Vector256.Create(x[1]);
                s10 = Vector256.FusedMultiplyAdd(q, k0, s10);
                s11 = Vector256.FusedMultiplyAdd(q, k1, s11);
                q = Vector256.Create(x[2]);
                s20 = Vector256.FusedMultiplyAdd(q, k0, s20);
                s21 = Vector256.FusedMultiplyAdd(q, k1, s21);
                q = Vector256.Create(x[3]);
                s30 = Vector256.FusedMultiplyAdd(q, k0, s30);
                s31 = Vector256.FusedMultiplyAdd(q, k1, s31);
                q = Vector256.Create(x[4]);
                s40 = Vector256.FusedMultiplyAdd(q, k0, s40);
                s41 = Vector256.FusedMultiplyAdd(q, k1, s41);
                q = Vector256.Create(x[5]);
                s50 = Vector256.FusedMultiplyAdd(q, k0, s50);
                s51 = Vector256.FusedMultiplyAdd(q, k1, s51);
            }

            sum[0] = s00;
            sum[1] = s01;
            sum[2] = s10;
            sum[3] = s11;
            sum[4] = s20;
            sum[5] = s21;
            sum[6] = s30;
            sum[7] = s31;
            sum[8] = s40;
            sum[9] = s41;
            sum[10] = s50;
            sum[11] = s51;
        }

        var factor = Vector256.Create(scale);
        for (int q = 0; q < Math.Min(TileQueries, scores.Length - query); q++)
        {
            Vector256<float>* low = sums + 2 * q;
            Store(Of(scores, query + q) + offset, SumOfResidues(low) * factor, SumOfResidues(low + 1) * factor);
        }
    }

    /// <param name="sums">One of those of the first residue.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> SumOfResidues(Vector256<float>* sums)
    {
        const int Next = 2 * TileQueries;
        return ((sums[0] + sums[4 * Next]) + (sums[2 * Next] + sums[6 * Next])) + ((sums[Next] + sums[5 * Next]) + (sums[3 * Next] + sums[7 * Next]));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AccumulateTile(ReadOnlySpan<nint> weights, int query, float* values, int count, nint headDim, ReadOnlySpan<nint> outputs, int offset)
    {
        float* w0 = Of(weights, query + 0);
        float* w1 = Of(weights, query + 1);
        float* w2 = Of(weights, query + 2);
        float* w3 = Of(weights, query + 3);
        float* w4 = Of(weights, query + 4);
        float* w5 = Of(weights, query + 5);
        float* o0 = Of(outputs, query + 0) + offset;
        float* o1 = Of(outputs, query + 1) + offset;
        float* o2 = Of(outputs, query + 2) + offset;
        float* o3 = Of(outputs, query + 3) + offset;
        float* o4 = Of(outputs, query + 4) + offset;
        float* o5 = Of(outputs, query + 5) + offset;
        Vector256<float> s00 = Vector256.Load(o0), s01 = Vector256.Load(o0 + Lanes);
        Vector256<float> s10 = Vector256.Load(o1), s11 = Vector256.Load(o1 + Lanes);
        Vector256<float> s20 = Vector256.Load(o2), s21 = Vector256.Load(o2 + Lanes);
        Vector256<float> s30 = Vector256.Load(o3), s31 = Vector256.Load(o3 + Lanes);
        Vector256<float> s40 = Vector256.Load(o4), s41 = Vector256.Load(o4 + Lanes);
        Vector256<float> s50 = Vector256.Load(o5), s51 = Vector256.Load(o5 + Lanes);
        for (nint t = 0; t < count; t++, values += headDim)
        {
            var (v0, v1) = (Vector256.Load(values), Vector256.Load(values + Lanes));
            var w = Vector256.Create(w0[t]);
            s00 = Vector256.FusedMultiplyAdd(w, v0, s00);
            s01 = Vector256.FusedMultiplyAdd(w, v1, s01);
            w = Vector256.Create(w1[t]);
            s10 = Vector256.FusedMultiplyAdd(w, v0, s10);
            s11 = Vector256.FusedMultiplyAdd(w, v1, s11);
            w = Vector256.Create(w2[t]);
            s20 = Vector256.FusedMultiplyAdd(w, v0, s20);
            s21 = Vector256.FusedMultiplyAdd(w, v1, s21);
            w = Vector256.Create(w3[t]);
            s30 = Vector256.FusedMultiplyAdd(w, v0, s30);
            s31 = Vector256.FusedMultiplyAdd(w, v1, s31);
            w = Vector256.Create(w4[t]);
            s40 = Vector256.FusedMultiplyAdd(w, v0, s40);
            s41 = Vector256.FusedMultiplyAdd(w, v1, s41);
            w = Vector256.Create(w5[t]);
            s50 = Vector256.FusedMultiplyAdd(w, v0, s50);
            s51 = Vector256.FusedMultiplyAdd(w, v1, s51);
        }

        // A query that is repeated gives the same sums each time.
        Store(Of(outputs, query + 0) + offset, s00, s01);
        Store(Of(outputs, query + 1) + offset, s10, s11);
        Store(Of(outputs, query + 2) + offset, s20, s21);
        Store(Of(outputs, query + 3) + offset, s30, s31);
        Store(Of(outputs, query + 4) + offset, s40, s41);
        Store(Of(outputs, query + 5) + offset, s50, s51);
    }

    /// <summary>The last eight elements of a head of an odd number of eights.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AccumulateHalfTile(ReadOnlySpan<nint> weights, int query, float* values, int count, nint headDim, ReadOnlySpan<nint> outputs, int offset)
    {
        for (int q = query; q < Math.Min(query + TileQueries, weights.Length); q++)
        {
            float* output = Of(outputs, q) + offset;
            float* w = Of(weights, q);
            var sum = Vector256.Load(output);
            for (nint t = 0; t < count; t++)
            {
                sum = Vector256.FusedMultiplyAdd(Vector256.Create(w[t]), Vector256.Load(values + t * headDim), sum);
            }

            sum.Store(output);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* destination, Vector256<float> low, Vector256<float> high)
    {
        low.Store(destination);
        high.Store(destination + Lanes);
    }
}
