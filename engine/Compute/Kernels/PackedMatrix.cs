using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// A weight matrix <c>[outputs, inputs]</c> repacked into panels of 16 outputs, so that a vector holds neighbouring outputs and a dot
/// product needs no sum across lanes. Outputs are padded to a multiple of 16 and inputs to a multiple of 2 with zeros. Owns its memory.
/// </summary>
internal sealed unsafe class PackedMatrix : IDisposable
{
    public const int PanelOutputs = 16;

    private readonly NativeBuffer _panels;
    private readonly NativeBuffer _bias;

    private PackedMatrix(int outputs, int inputs, PanelFormat format)
    {
        Outputs = outputs;
        Inputs = inputs;
        Format = format;
        _panels = new NativeBuffer(PanelCount * PanelBytes);
        _bias = NativeBuffer.OfFloats((long)PanelCount * PanelOutputs);
    }

    public int Outputs { get; }

    public int Inputs { get; }

    public PanelFormat Format { get; }

    public int PanelCount => (Outputs + PanelOutputs - 1) / PanelOutputs;

    /// <summary>Pairs of inputs, the last one padded if inputs are odd.</summary>
    public int Pairs => (Inputs + 1) / 2;

    public int PairBytes => Format == PanelFormat.Float32 ? Float32Panel.PairBytes : BFloat16Panel.PairBytes;

    public long PanelBytes => (long)Pairs * PairBytes;

    /// <summary>Bytes of weights that a product reads.</summary>
    public long Bytes => PanelCount * PanelBytes;

    public byte* Panels => _panels.Pointer;

    /// <summary>[outputs padded to 16], zero where there is no bias.</summary>
    public float* Bias => _bias.Floats;

    /// <summary>
    /// Packs matrices of equal width one below the other: bf16 panels if all of them are bf16, else f32, both exact.
    /// </summary>
    /// <param name="parts">Each <c>[rows, inputs]</c>; their rows become the outputs in this order.</param>
    /// <param name="biases">One vector a part, or empty for no bias.</param>
    /// <param name="forEachPanel">Runs an action for each of n panels, in parallel if it likes.</param>
    public static PackedMatrix Pack(IReadOnlyList<TensorView> parts, IReadOnlyList<TensorView> biases, Action<int, Action<int>> forEachPanel)
    {
        var format = parts.All(part => part.Type == WeightType.BFloat16) ? PanelFormat.BFloat16 : PanelFormat.Float32;
        var matrix = new PackedMatrix(parts.Sum(part => part.Rows), parts[0].Columns, format);
        forEachPanel(matrix.PanelCount, panel => matrix.PackPanel(panel, parts));
        int output = 0;
        foreach (var bias in biases)
        {
            bias.ReadRow(0, new Span<float>(matrix.Bias + output, bias.Columns));
            output += bias.Columns;
        }

        return matrix;
    }

    /// <summary>The weights of one output as f32, as an embedding row is read. <paramref name="row"/> has <see cref="Inputs"/> elements.</summary>
    public void ReadRow(int output, float* row)
    {
        byte* weights = Panels + output / PanelOutputs * PanelBytes + output % PanelOutputs * 4;
        for (int input = 0; input < Inputs; input++)
        {
            byte* pair = weights + input / 2 * (long)PairBytes;
            row[input] = Format == PanelFormat.Float32
                ? *(float*)(pair + input % 2 * 64)
                : BitConverter.UInt32BitsToSingle((uint)((ushort*)pair)[input % 2] << 16);
        }
    }

    public void Dispose()
    {
        _panels.Dispose();
        _bias.Dispose();
    }

    private void PackPanel(int panel, IReadOnlyList<TensorView> parts)
    {
        byte* destination = Panels + panel * PanelBytes;
        var converted = Format == PanelFormat.Float32 ? new float[Inputs] : [];
        int last = Math.Min(Outputs - panel * PanelOutputs, PanelOutputs);
        for (int lane = 0; lane < last; lane++)
        {
            int row = panel * PanelOutputs + lane;
            int part = 0;
            while (row >= parts[part].Rows)
            {
                row -= parts[part++].Rows;
            }

            if (Format == PanelFormat.Float32)
            {
                parts[part].ReadRow(row, converted);
                for (int input = 0; input < Inputs; input++)
                {
                    ((float*)destination)[input * PanelOutputs + lane] = converted[input];
                }
            }
            else
            {
                ushort* source = (ushort*)parts[part].Row(row);
                for (int input = 0; input < Inputs; input++)
                {
                    ((ushort*)destination)[(input / 2 * PanelOutputs + lane) * 2 + input % 2] = source[input];
                }
            }
        }
    }
}
