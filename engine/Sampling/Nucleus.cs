using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Sampling;

/// <summary>
/// top_p without sorting: of the slice of tokens within which their weights become enough, the last one kept is found as the n-th smallest of an array is, by dividing
/// it in two again and again, with the sum of the better half in place of its count. That takes time in proportion to the tokens, however flat they are.
/// </summary>
/// <remarks>
/// The plain definition adds weights from the likeliest down. Here they are added in another order, and the sums may differ in their last bits: where one comes so
/// close to being enough that this could decide, nothing is found, and the caller does what the definition says.
/// </remarks>
internal static class Nucleus
{
    /// <summary>Keys that are sorted rather than divided further.</summary>
    private const int FewKeys = 48;

    /// <summary>The tokens whose weights, from the likeliest down, become <paramref name="enough"/>, by id.</summary>
    /// <param name="selection">Just begun on these scores.</param>
    /// <param name="weights">Of all tokens.</param>
    /// <param name="total">The sum of all weights, above <paramref name="enough"/>.</param>
    /// <param name="kept">Room for all tokens.</param>
    /// <returns>How many are kept; 0 if the last bits of sums decide.</returns>
    public static int Keep(TopSelection selection, ReadOnlySpan<float> scores, ReadOnlySpan<float> weights, double enough, double total, Span<int> kept)
    {
        // Two sums of n numbers in different orders are no further apart than this (Higham, "Accuracy and Stability of Numerical Algorithms", 4.2).
        var margin = scores.Length * total * Math.ScaleB(1, -52);
        var sum = 0.0;
        while (true)
        {
            var slice = selection.Gather(scores);
            var after = sum + SumOf(slice, weights);
            if (slice.IsEmpty || IsClose(after, enough, margin))
            {
                return 0;
            }

            if (after > enough)
            {
                return TryCut(slice, weights, sum, enough, margin, out var last) ? UpTo(last, scores, kept) : 0;
            }

            sum = after;
        }
    }

    private static bool IsClose(double sum, double enough, double margin) => Math.Abs(sum - enough) <= margin;

    private static double SumOf(ReadOnlySpan<ulong> keys, ReadOnlySpan<float> weights)
    {
        var sum = 0.0;
        foreach (var key in keys)
        {
            sum += weights[TopSelection.IndexOf(key)];
        }

        return sum;
    }

    /// <param name="sum">Of the weights before these keys.</param>
    /// <param name="last">The token with which the sum becomes enough.</param>
    /// <returns>False if the last bits of sums decide.</returns>
    private static bool TryCut(Span<ulong> keys, ReadOnlySpan<float> weights, double sum, double enough, double margin, out int last)
    {
        last = 0;
        while (keys.Length > FewKeys)
        {
            var (better, after) = Divide(keys, weights, sum);
            if (IsClose(after, enough, margin))
            {
                return false;
            }

            if (after > enough)
            {
                keys = keys[..better];
            }
            else
            {
                keys = keys[better..];
                sum = after;
            }
        }

        keys.Sort();
        foreach (var key in keys)
        {
            last = TopSelection.IndexOf(key);
            sum += weights[last];
            if (IsClose(sum, enough, margin))
            {
                return false;
            }

            if (sum > enough)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Brings the keys below one of them, neither the first nor beyond the last, to the front.</summary>
    /// <returns>How many there are, and the sum with their weights.</returns>
    private static (int Better, double Sum) Divide(Span<ulong> keys, ReadOnlySpan<float> weights, double sum)
    {
        var (a, b, c) = (keys[0], keys[keys.Length / 2], keys[^1]);
        var pivot = Math.Max(Math.Min(a, b), Math.Min(Math.Max(a, b), c));
        var better = 0;
        for (var index = 0; index < keys.Length; index++)
        {
            // Without branches: which way a key goes cannot be predicted.
            var key = keys[index];
            keys[index] = keys[better];
            keys[better] = key;
            var isBetter = key < pivot;
            sum += isBetter ? weights[TopSelection.IndexOf(key)] : 0f;
            better += isBetter ? 1 : 0;
        }

        return (better, sum);
    }

    /// <summary>The tokens up to <paramref name="last"/> in order of likelihood, by id.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int UpTo(int last, ReadOnlySpan<float> scores, Span<int> kept)
    {
        var least = scores[last];
        var leasts = Vector256.Create(least);
        ref var first = ref MemoryMarshal.GetReference(scores);
        var count = 0;
        var index = 0;
        for (; index <= scores.Length - VectorMath.Lanes; index += VectorMath.Lanes)
        {
            var within = Vector256.GreaterThanOrEqual(Vector256.LoadUnsafe(ref first, (nuint)index), leasts);
            for (var left = within.ExtractMostSignificantBits(); left != 0; left &= left - 1)
            {
                var token = index + BitOperations.TrailingZeroCount(left);
                kept[count] = token;
                count += scores[token] > least || token <= last ? 1 : 0;
            }
        }

        for (; index < scores.Length; index++)
        {
            if (scores[index] > least || (scores[index] == least && index <= last))
            {
                kept[count++] = index;
            }
        }

        return count;
    }
}
