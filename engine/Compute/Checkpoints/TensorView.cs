using System.Runtime.CompilerServices;

namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>Element types of the weights that can be computed with.</summary>
internal enum WeightType
{
    Float32,
    Float16,
    BFloat16,
}

/// <summary>
/// A row-major matrix <c>[rows, columns]</c> in a mapped checkpoint; a vector is a matrix of one row. Valid while its
/// <see cref="Checkpoint"/> is open. The data may be unaligned.
/// </summary>
internal readonly unsafe struct TensorView(byte* data, WeightType type, int rows, int columns)
{
    public byte* Data { get; } = data;

    public WeightType Type { get; } = type;

    public int Rows { get; } = rows;

    public int Columns { get; } = columns;

    private int ElementBytes => Type == WeightType.Float32 ? 4 : 2;

    /// <summary>The first byte of a row.</summary>
    public byte* Row(int row) => Data + (long)row * Columns * ElementBytes;

    /// <summary>Converts one row to f32; exact for every <see cref="WeightType"/>.</summary>
    public void ReadRow(int row, Span<float> destination)
    {
        byte* source = Row(row);
        for (int i = 0; i < Columns; i++)
        {
            destination[i] = Type switch
            {
                WeightType.Float32 => Unsafe.ReadUnaligned<float>(source + 4L * i),
                WeightType.Float16 => (float)Unsafe.ReadUnaligned<Half>(source + 2L * i),
                _ => BitConverter.UInt32BitsToSingle((uint)Unsafe.ReadUnaligned<ushort>(source + 2L * i) << 16),
            };
        }
    }
}
