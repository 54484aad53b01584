using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>What is kept of a key or value in 16 bits.</summary>
public sealed unsafe class KvElementsTests
{
    public static TheoryData<KvDataType> Types { get; } = [KvDataType.BFloat16, KvDataType.Float16];

    [Theory]
    [MemberData(nameof(Types))]
    public void Every_element_is_read_exactly_and_stored_as_itself(KvDataType type)
    {
        ushort[] elements = [.. Enumerable.Range(0, 1 << 16).Select(bits => (ushort)bits)];
        var values = Widen(type, elements);
        var again = Narrow(type, values);
        for (int i = 0; i < elements.Length; i++)
        {
            double expected = Meaning(type, elements[i]);
            if (double.IsNaN(expected))
            {
                Assert.True(float.IsNaN(values[i]) && double.IsNaN(Meaning(type, again[i])), $"{elements[i]:x4}");
            }
            else
            {
                // Equal numbers, zeros with their sign.
                Assert.Equal(BitConverter.DoubleToInt64Bits(expected), BitConverter.DoubleToInt64Bits(values[i]));
                Assert.Equal(elements[i], again[i]);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Between_two_elements_the_nearer_is_stored_and_in_the_middle_the_even_one(KvDataType type)
    {
        ushort infinity = Narrow(type, [float.PositiveInfinity, 0, 0, 0, 0, 0, 0, 0])[0];
        var (values, expected) = (new List<float>(), new List<ushort>());
        void Expect(float value, int element)
        {
            values.AddRange([value, -value]);
            expected.AddRange([(ushort)element, (ushort)(element | 0x8000)]);
        }

        for (int element = 0; element < infinity; element++)
        {
            // Above the largest element lies, for rounding, what would be the next one.
            double low = Meaning(type, (ushort)element);
            double high = element + 1 == infinity ? 2 * low - Meaning(type, (ushort)(element - 1)) : Meaning(type, (ushort)(element + 1));
            float middle = (float)((low + high) / 2);
            if (middle > low && middle < high)
            {
                Expect(middle, element + element % 2);
                Expect(MathF.BitIncrement(middle), element + 1);
                Expect(MathF.BitDecrement(middle), element);
            }
        }

        Assert.Equal(expected, Narrow(type, [.. values, .. new float[(8 - values.Count % 8) % 8]]).Take(expected.Count));
        Assert.True(values.Count > 6 * infinity - 1000);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void What_is_too_large_becomes_infinite_and_no_number_stays_none(KvDataType type)
    {
        var nans = new[] { 0x7f80_0001u, 0x7fff_ffffu, 0xffff_ffffu, 0xff80_0001u }.Select(BitConverter.UInt32BitsToSingle);
        var stored = Widen(type, Narrow(type, [float.MaxValue, float.MinValue, float.PositiveInfinity, float.NegativeInfinity, .. nans]));
        Assert.Equal([float.PositiveInfinity, float.NegativeInfinity, float.PositiveInfinity, float.NegativeInfinity], stored[..4]);
        Assert.All(stored[4..], value => Assert.True(float.IsNaN(value)));
    }

    /// <summary>The number an element stands for, as its format defines it.</summary>
    private static double Meaning(KvDataType type, ushort bits)
    {
        var (exponentBits, fractionBits) = type == KvDataType.BFloat16 ? (8, 7) : (5, 10);
        int exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
        int fraction = bits & ((1 << fractionBits) - 1);
        int bias = (1 << (exponentBits - 1)) - 1;
        double size = exponent == (1 << exponentBits) - 1 ? fraction == 0 ? double.PositiveInfinity : double.NaN
            : exponent == 0 ? Math.ScaleB(fraction, 1 - bias - fractionBits)
            : Math.ScaleB((1 << fractionBits) + fraction, exponent - bias - fractionBits);
        return bits >> 15 == 0 ? size : -size;
    }

    private static float[] Widen(KvDataType type, ushort[] elements)
    {
        var values = new float[elements.Length];
        fixed (ushort* source = elements)
        fixed (float* destination = values)
        {
            KvElements.Widen(type, (byte*)source, destination, values.Length);
        }

        return values;
    }

    private static ushort[] Narrow(KvDataType type, float[] values)
    {
        var elements = new ushort[values.Length];
        fixed (float* source = values)
        fixed (ushort* destination = elements)
        {
            KvElements.Narrow(type, source, (byte*)destination, elements.Length);
        }

        return elements;
    }
}
