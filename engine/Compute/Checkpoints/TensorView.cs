using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>Element types of the weights that can be computed with.</summary>
internal enum WeightType
{
    Float32,
    Float16,
    BFloat16,
}

/// <summary>Where a tensor comes from, for errors.</summary>
/// <param name="FirstRow">Of a part: where it begins in the tensor.</param>
internal sealed record TensorOrigin(string File, string Name, int FirstRow = 0, int FirstColumn = 0);

/// <summary>
/// A row-major matrix <c>[rows, columns]</c> in a mapped checkpoint; a vector is a matrix of one row. Valid while its
/// <see cref="Checkpoint"/> is open. The data may be unaligned.
/// </summary>
internal readonly unsafe struct TensorView(byte* data, WeightType type, int rows, int columns, TensorOrigin? origin = null)
{
    public byte* Data { get; } = data;

    public WeightType Type { get; } = type;

    public int Rows { get; } = rows;

    public int Columns { get; } = columns;

    public TensorOrigin Origin { get; } = origin ?? new TensorOrigin("memory", "weights");

    /// <summary>Elements from a row to the next: more than <see cref="Columns"/> in a part of a tensor's columns.</summary>
    public int Stride { get; private init; } = columns;

    private int ElementBytes => Type == WeightType.Float32 ? 4 : 2;

    /// <summary>The first byte of a row.</summary>
    public byte* Row(int row) => Data + (long)row * Stride * ElementBytes;

    /// <summary>Some rows of the matrix.</summary>
    public TensorView PartOfRows(int first, int count) =>
        new(Row(first), Type, count, Columns, Origin with { FirstRow = Origin.FirstRow + first }) { Stride = Stride };

    /// <summary>Some columns of the matrix, or elements of the vector.</summary>
    public TensorView PartOfColumns(int first, int count) =>
        new(Data + (long)first * ElementBytes, Type, Rows, count, Origin with { FirstColumn = Origin.FirstColumn + first }) { Stride = Stride };

    /// <summary>Converts one row to f32; exact for every <see cref="WeightType"/>.</summary>
    public void ReadRow(int row, Span<float> destination)
    {
        byte* source = Row(row);
        switch (Type)
        {
            case WeightType.Float32:
                new ReadOnlySpan<byte>(source, Columns * sizeof(float)).CopyTo(MemoryMarshal.AsBytes(destination));
                break;
            case WeightType.Float16:
                for (int i = 0; i < Columns; i++)
                {
                    destination[i] = (float)Unsafe.ReadUnaligned<Half>(source + 2L * i);
                }

                break;
            default:
                for (int i = 0; i < Columns; i++)
                {
                    destination[i] = BitConverter.UInt32BitsToSingle((uint)Unsafe.ReadUnaligned<ushort>(source + 2L * i) << 16);
                }

                break;
        }
    }

    /// <exception cref="ModelLoadException">An element of the row is NaN or infinite.</exception>
    public void CheckFinite(int row)
    {
        int bad = Type switch
        {
            WeightType.Float32 => FloatBits.IndexOfNonFinite<uint>(new(Row(row), Columns), 0x7f80_0000),
            WeightType.Float16 => FloatBits.IndexOfNonFinite<ushort>(new(Row(row), Columns), 0x7c00),
            _ => FloatBits.IndexOfNonFinite<ushort>(new(Row(row), Columns), 0x7f80),
        };
        if (bad >= 0)
        {
            var values = new float[Columns];
            ReadRow(row, values);
            int column = Origin.FirstColumn + bad;
            string where = Rows == 1 && Origin.FirstRow == 0 ? $"element {column}" : $"element [{Origin.FirstRow + row}, {column}]";
            throw new ModelLoadException(Origin.File, $"tensor '{Origin.Name}'", "finite numbers", $"{values[bad]} at {where}");
        }
    }
}

/// <summary>Searches of raw float bits.</summary>
internal static class FloatBits
{
    /// <summary>Index of the first element whose exponent bits are all ones, or -1.</summary>
    public static int IndexOfNonFinite<T>(ReadOnlySpan<T> bits, T exponent)
        where T : unmanaged, IBinaryInteger<T>
    {
        int i = 0;
        var mask = Vector256.Create(exponent);
        for (; i <= bits.Length - Vector256<T>.Count; i += Vector256<T>.Count)
        {
            if (Vector256.EqualsAny(Vector256.Create(bits[i..]) & mask, mask))
            {
                break;
            }
        }

        for (; i < bits.Length; i++)
        {
            if ((bits[i] & exponent) == exponent)
            {
                return i;
            }
        }

        return -1;
    }
}
