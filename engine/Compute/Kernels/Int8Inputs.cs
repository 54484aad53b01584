using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// Inputs of products with <see cref="PanelFormat.Int8"/> weights: groups of 32 as int16 with one scale each, 15 bits of which are used. The scale is
/// a power of two, so that nothing is rounded but the integers themselves: to within 2^-15 of the group's largest element. A group depends on
/// itself alone, not on other groups, rows or vector widths.
/// </summary>
internal static unsafe class Int8Inputs
{
    /// <summary>Before the integers of a group: the scale in f32, and an int32, what sums of the group's products begin with.</summary>
    public const int HeaderBytes = sizeof(float) + sizeof(int);

    public const int GroupBytes = HeaderBytes + sizeof(short) * Int8Panel.GroupInputs;

    /// <summary>Of as many inputs as a unit of weights.</summary>
    public const int UnitBytes = Int8Panel.UnitGroups * GroupBytes;

    private const int ExponentShift = 23;
    private const int ExponentBias = 127;

    /// <summary>Elements of a group are brought below 2^15.</summary>
    private const int Bits = 15;

    /// <summary>Groups whose largest element is smaller than 2^-100 lose some bits, lest their scale be no normal number.</summary>
    private const int LeastExponent = ExponentBias - 100;

    /// <summary>1.5 * 2^23: an f32 of this size has no bits behind the point, so adding it rounds to the nearest integer, ties to even.</summary>
    private const float Rounder = 12582912f;

    /// <summary>Bytes of a row of this many inputs.</summary>
    public static int RowBytes(int inputs) => (inputs + Int8Panel.UnitInputs - 1) / Int8Panel.UnitInputs * UnitBytes;

    /// <summary>Writes the groups of one row; the last unit is filled up with zeros. Elements that are not finite make the products NaN.</summary>
    /// <param name="groups">Of <see cref="RowBytes"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Write(float* row, int inputs, byte* groups)
    {
        int input = 0;
        for (; input <= inputs - Int8Panel.GroupInputs; input += Int8Panel.GroupInputs, groups += GroupBytes)
        {
            WriteGroup(row + input, groups);
        }

        float* last = stackalloc float[Int8Panel.GroupInputs];
        for (; input < (inputs + Int8Panel.UnitInputs - 1) / Int8Panel.UnitInputs * Int8Panel.UnitInputs; input += Int8Panel.GroupInputs, groups += GroupBytes)
        {
            new Span<float>(last, Int8Panel.GroupInputs).Clear();
            new ReadOnlySpan<float>(row + input, Math.Max(0, inputs - input)).CopyTo(new Span<float>(last, Int8Panel.GroupInputs));
            WriteGroup(last, groups);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteGroup(float* source, byte* group)
    {
        var (a, b, c, d) = (Vector256.Load(source), Vector256.Load(source + 8), Vector256.Load(source + 16), Vector256.Load(source + 24));

        // Bits without the sign order as the values do, with infinity and NaN on top.
        var largest = Vector256.Max(Vector256.Max(Magnitude(a), Magnitude(b)), Vector256.Max(Magnitude(c), Magnitude(d)));
        var half = Vector128.Max(largest.GetLower(), largest.GetUpper());
        int bits = Math.Max(Math.Max(half[0], half[1]), Math.Max(half[2], half[3]));
        int exponent = bits >> ExponentShift;
        if (exponent > 2 * ExponentBias)
        {
            *(float*)group = float.NaN;
            new Span<byte>(group, GroupBytes)[sizeof(float)..].Clear();
            return;
        }

        // Largest < 2^(exponent - bias + 1).
        int shift = Bits - 1 + ExponentBias - Math.Max(exponent, LeastExponent);
        *(float*)group = PowerOfTwo(-shift);
        var scale = Vector256.Create(PowerOfTwo(shift));
        var first = Vector256.Narrow(Integers(a, scale), Integers(b, scale));
        var second = Vector256.Narrow(Integers(c, scale), Integers(d, scale));
        short* integers = (short*)(group + HeaderBytes);
        first.Store(integers);
        second.Store(integers + 16);
        ((int*)group)[1] = -Int8Panel.LowerOffset * (SumOfLower(first) + SumOfLower(second));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Magnitude(Vector256<float> values) => values.AsInt32() & Vector256.Create(int.MaxValue);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Integers(Vector256<float> values, Vector256<float> scale)
    {
        // The largest may be rounded up to 2^15, which is no int16.
        var scaled = Vector256.Min(values * scale, Vector256.Create((float)short.MaxValue));
        return (scaled + Vector256.Create(Rounder)).AsInt32() - Vector256.Create(Rounder).AsInt32();
    }

    /// <summary>Of the inputs whose weights are in lower bytes: the first two of every four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int SumOfLower(Vector256<short> integers)
    {
        var pairs = integers.AsInt32();
        var sums = (pairs >> 16) + ((pairs << 16) >> 16);
        return Vector256.Sum(sums & Vector256.Create(0xFFFFFFFFL).AsInt32());
    }

    private static float PowerOfTwo(int exponent) => BitConverter.Int32BitsToSingle((exponent + ExponentBias) << ExponentShift);
}
