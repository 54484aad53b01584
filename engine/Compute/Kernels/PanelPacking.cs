using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>Writes the panels of a matrix whose rows come from tensors that stand one below the other.</summary>
internal sealed unsafe class PanelPacking(IReadOnlyList<TensorView> parts, PanelFormat format)
{
    private readonly PanelGeometry _geometry = PanelGeometry.Of(format);

    public int Inputs { get; } = parts[0].Columns;

    public int Outputs { get; } = parts.Sum(part => part.Rows);

    /// <summary>Packs the 16 outputs from 16 * <paramref name="panel"/> on.</summary>
    /// <param name="destination">Zeros, as large as a panel of <see cref="PackedMatrix"/>.</param>
    public void Pack(int panel, byte* destination)
    {
        var values = new float[_geometry.Units(Inputs) * _geometry.UnitInputs];
        int last = Math.Min(Outputs - panel * PackedMatrix.PanelOutputs, PackedMatrix.PanelOutputs);
        for (int lane = 0; lane < last; lane++)
        {
            ReadRow(panel * PackedMatrix.PanelOutputs + lane, values);
            switch (format)
            {
                case PanelFormat.Float32:
                    PackFloat32(values, (float*)destination + lane);
                    break;
                case PanelFormat.BFloat16:
                    PackBFloat16(values, (ushort*)destination + 2 * lane);
                    break;
                default:
                    PackInt8(values, destination + _geometry.OutputBytes * lane);
                    break;
            }
        }
    }

    private void ReadRow(int row, float[] values)
    {
        int part = 0;
        while (row >= parts[part].Rows)
        {
            row -= parts[part++].Rows;
        }

        parts[part].ReadRow(row, values);
    }

    private static void PackFloat32(float[] values, float* column)
    {
        for (int input = 0; input < values.Length; input++)
        {
            column[input * PackedMatrix.PanelOutputs] = values[input];
        }
    }

    private static void PackBFloat16(float[] values, ushort* column)
    {
        for (int input = 0; input < values.Length; input += 2)
        {
            column[input * PackedMatrix.PanelOutputs] = BFloat16.Round(values[input]);
            column[input * PackedMatrix.PanelOutputs + 1] = BFloat16.Round(values[input + 1]);
        }
    }

    /// <summary>Each group's scale makes its largest weight 127 (or, the scale being rounded, up to half more, which is rounded to 127).</summary>
    private static void PackInt8(float[] values, byte* column)
    {
        for (int unit = 0; unit < values.Length; unit += Int8Panel.UnitInputs, column += Int8Panel.UnitBytes)
        {
            for (int group = 0; group < Int8Panel.UnitGroups; group++)
            {
                var weights = values.AsSpan(unit + group * Int8Panel.GroupInputs, Int8Panel.GroupInputs);
                float largest = 0;
                foreach (float weight in weights)
                {
                    largest = MathF.Max(largest, MathF.Abs(weight));
                }

                ushort scale = BFloat16.Round(largest / sbyte.MaxValue);
                ((ushort*)column)[group] = scale;
                PackGroup(weights, BFloat16.ToSingle(scale), column + Int8Panel.ScaleBytes + group * Int8Panel.GroupBytes);
            }
        }
    }

    private static void PackGroup(ReadOnlySpan<float> weights, float scale, byte* quads)
    {
        for (int input = 0; input < weights.Length; input++)
        {
            int rounded = scale == 0 ? 0 : Nearest(weights[input] / scale);
            quads[Int8Panel.ByteOf(input)] = (byte)(Int8Panel.IsLower(input) ? rounded + Int8Panel.LowerOffset : rounded);
        }
    }

    private static sbyte Nearest(float value) => (sbyte)Math.Clamp(MathF.Round(value), -sbyte.MaxValue, sbyte.MaxValue);
}
