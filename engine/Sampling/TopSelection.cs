using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Sampling;

/// <summary>
/// Puts values into order from the largest down, equal ones by lower index, as far as is asked for: slices of values at growing distance from the largest one
/// are gathered and sorted one after the other, so that a few likely tokens are found without sorting a whole vocabulary. Reuses its buffers: one caller at a time.
/// </summary>
public sealed class TopSelection(int capacity)
{
    /// <summary>Slices double in width from one unit on; the one that begins here takes all the rest.</summary>
    private const int LastSlice = 64;

    // The upper half of a key orders by value, the largest first, the lower half is the index.
    private readonly ulong[] _keys = new ulong[capacity];
    private readonly int[] _ordered = new int[capacity];
    private float _largest;
    private float _unit;
    private float _from;
    private float _to;

    /// <summary>Indices in order, as far as they are known. Valid until the next <see cref="Begin"/>.</summary>
    public Span<int> Ordered => _ordered.AsSpan(0, Count);

    public int Count { get; private set; }

    /// <summary>Begins anew, with nothing in order.</summary>
    /// <param name="largest">The largest of the values.</param>
    /// <param name="unit">A distance from the largest within which a few values may lie; above 0. Changes the cost, never the order.</param>
    public void Begin(float largest, float unit) => (Count, _largest, _unit, _from, _to) = (0, largest, unit, 0, unit);

    /// <summary>
    /// Indices of the <paramref name="count"/> largest values, largest first, equal ones by lower index. Valid until the next call.
    /// </summary>
    /// <param name="largest">The largest of the values.</param>
    public Span<int> Largest(ReadOnlySpan<float> values, float largest, int count)
    {
        Begin(largest, unit: 1);
        while (Count < count && Extend(values))
        {
        }

        return Ordered[..count];
    }

    /// <summary>Puts more values into order.</summary>
    /// <param name="values">The same in each call since <see cref="Begin"/>; none is NaN.</param>
    /// <returns>False if all are.</returns>
    public bool Extend(ReadOnlySpan<float> values)
    {
        var before = Count;
        Gather(values).Sort();
        for (var rank = before; rank < Count; rank++)
        {
            _ordered[rank] = IndexOf(_keys[rank]);
        }

        return Count > before;
    }

    /// <summary>
    /// The keys of the next values, in no order, for callers that put none into order since <see cref="Begin"/>: all are behind those of the calls before. A lower key comes
    /// first. Empty if none is left. The caller may change it.
    /// </summary>
    /// <param name="values">As in <see cref="Extend"/>.</param>
    public Span<ulong> Gather(ReadOnlySpan<float> values)
    {
        var before = Count;
        while (Count == before && Count < values.Length)
        {
            Gather(values, isLast: _from >= LastSlice * _unit);
            (_from, _to) = (_to, 2 * _to);
        }

        return _keys.AsSpan(before, Count - before);
    }

    /// <summary>The index of the value that a key is of.</summary>
    public static int IndexOf(ulong key) => (int)(uint)key;

    /// <summary>Adds the keys of the values at distances in [from, to) of the largest.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Gather(ReadOnlySpan<float> values, bool isLast)
    {
        var (largest, from, to) = (Vector256.Create(_largest), Vector256.Create(_from), Vector256.Create(_to));
        ref var first = ref MemoryMarshal.GetReference(values);
        var index = 0;
        for (; index <= values.Length - VectorMath.Lanes; index += VectorMath.Lanes)
        {
            var distance = largest - Vector256.LoadUnsafe(ref first, (nuint)index);
            var within = Vector256.GreaterThanOrEqual(distance, from);
            if (!isLast)
            {
                within &= Vector256.LessThan(distance, to);
            }

            for (var left = within.ExtractMostSignificantBits(); left != 0; left &= left - 1)
            {
                Add(values, index + BitOperations.TrailingZeroCount(left));
            }
        }

        for (; index < values.Length; index++)
        {
            var distance = _largest - values[index];
            if (distance >= _from && (isLast || distance < _to))
            {
                Add(values, index);
            }
        }
    }

    private void Add(ReadOnlySpan<float> values, int index)
    {
        // Adding 0 makes both zeros one. The bits of negative numbers grow as these fall.
        var bits = BitConverter.SingleToUInt32Bits(values[index] + 0f);
        var descending = (bits & 0x8000_0000) != 0 ? bits : ~(bits | 0x8000_0000);
        _keys[Count++] = ((ulong)descending << 32) | (uint)index;
    }
}
