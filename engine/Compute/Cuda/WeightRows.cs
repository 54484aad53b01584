using System.Runtime.ExceptionServices;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>Where the inputs of a matrix lie in a row: pieces of so many, each at a multiple of the stride, zeros between them. Rows have whole vectors of 8.</summary>
internal readonly record struct InputPlaces(int Pieces, int Piece, int Stride)
{
    public int Inputs => Pieces * Stride;

    /// <summary>One behind the other.</summary>
    public static InputPlaces Whole(int inputs) => new(1, inputs, CudaWeights.Padded(inputs));
}

/// <summary>Turns rows of a checkpoint into those of the device: of the compute type, or codes and scales (Kernels/Weights.cuh). Any number of rows at a time may be converted.</summary>
internal sealed unsafe class WeightRows(ComputeType compute, StoredWeights stored, InputPlaces places)
{
    /// <summary>Kernels/Weights.cuh: ScaleInputs; int8_code; the largest number of e4m3.</summary>
    private const int ScaleInputs = 32, Int8Offset = 128, LargestFloat8 = 448;

    /// <summary>Of weights and of scales of a row.</summary>
    public int Bytes => places.Inputs * (stored == StoredWeights.Computed ? sizeof(ushort) : 1);

    public int ScaleBytes => stored == StoredWeights.Computed ? 0 : (places.Inputs + ScaleInputs - 1) / ScaleInputs * sizeof(ushort);

    /// <summary>Rows [first, first + count) of a tensor.</summary>
    /// <param name="remainder">What rounding to the compute type leaves of each element, in its place.</param>
    /// <exception cref="ModelLoadException">Elements are not finite.</exception>
    public void Convert(TensorView tensor, int first, int count, byte* target, byte* scales, bool remainder)
    {
        try
        {
            _ = Parallel.For(0, count, () => new float[places.Inputs], (i, _, values) =>
            {
                tensor.CheckFinite(first + i);
                Convert(tensor, first + i, values, target + (long)i * Bytes, (ushort*)(scales + (long)i * ScaleBytes), remainder);
                return values;
            }, _ => { });
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    /// <summary>As the compute type rounds it.</summary>
    public ushort Round(float value) => compute == ComputeType.BFloat16 ? BFloat16.Round(value) : BitConverter.HalfToUInt16Bits((Half)value);

    private float Widen(ushort bits) => compute == ComputeType.BFloat16 ? BFloat16.ToSingle(bits) : (float)BitConverter.UInt16BitsToHalf(bits);

    private void Convert(in TensorView tensor, int row, float[] values, byte* target, ushort* scales, bool remainder)
    {
        bool copied = stored == StoredWeights.Computed && !remainder && places.Pieces == 1 && places.Piece == places.Stride
            && tensor.Type == (compute == ComputeType.BFloat16 ? WeightType.BFloat16 : WeightType.Float16);
        if (copied)
        {
            new ReadOnlySpan<byte>(tensor.Row(row), Bytes).CopyTo(new Span<byte>(target, Bytes));
            return;
        }

        tensor.ReadRow(row, values);
        // From the last piece on: a piece moves behind where it was read to.
        for (int piece = places.Pieces - 1; piece >= 0; piece--)
        {
            values.AsSpan(piece * places.Piece, places.Piece).CopyTo(values.AsSpan(piece * places.Stride));
            values.AsSpan(piece * places.Stride + places.Piece, places.Stride - places.Piece).Clear();
        }

        if (stored == StoredWeights.Computed)
        {
            for (int i = 0; i < values.Length; i++)
            {
                ushort rounded = Round(values[i]);
                ((ushort*)target)[i] = remainder ? Round(values[i] - Widen(rounded)) : rounded;
            }

            return;
        }

        for (int group = 0; group < ScaleBytes / sizeof(ushort); group++)
        {
            var weights = values.AsSpan(group * ScaleInputs, Math.Min(ScaleInputs, values.Length - group * ScaleInputs));
            Encode(weights, target + group * ScaleInputs, scales + group);
        }
    }

    /// <summary>Each group's scale makes its largest weight the largest code, as on the CPU.</summary>
    private void Encode(ReadOnlySpan<float> weights, byte* codes, ushort* scale)
    {
        float largest = 0;
        foreach (float weight in weights)
        {
            largest = MathF.Max(largest, MathF.Abs(weight));
        }

        *scale = BFloat16.Round(largest / (stored == StoredWeights.Int8 ? sbyte.MaxValue : LargestFloat8));
        float size = BFloat16.ToSingle(*scale);
        for (int i = 0; i < weights.Length; i++)
        {
            float value = size == 0 ? 0 : weights[i] / size;
            codes[i] = stored == StoredWeights.Int8 ? (byte)(Math.Clamp(MathF.Round(value), -sbyte.MaxValue, sbyte.MaxValue) + Int8Offset) : Float8(value);
        }
    }

    /// <summary>To the nearest of e4m3, ties to even; beyond the largest the largest.</summary>
    private static byte Float8(float value)
    {
        const int LeastExponent = -6, FractionBits = 3;
        float size = MathF.Min(MathF.Abs(value), LargestFloat8);
        int exponent = Math.Max(LeastExponent, Math.ILogB(size));
        // Units of the last place: 8 to 16, below the least exponent fewer. 16 carries into the exponent.
        int units = (int)MathF.Round(MathF.ScaleB(size, FractionBits - exponent));
        return (byte)((float.IsNegative(value) ? 0x80 : 0) | (((exponent - LeastExponent) << FractionBits) + units));
    }
}
