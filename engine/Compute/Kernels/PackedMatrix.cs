using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// A weight matrix <c>[outputs, inputs]</c> repacked into panels of 16 outputs, so that a vector holds neighbouring outputs and a dot
/// product needs no sum across lanes. Outputs are padded to a multiple of 16 and inputs to whole units of the format, with zeros.
/// </summary>
internal sealed unsafe class PackedMatrix : IDisposable
{
    public const int PanelOutputs = 16;

    /// <summary>Of the memory of a matrix.</summary>
    public const int Alignment = 64;

    private NativeBuffer? _owned;

    /// <summary>A matrix without weights; see <see cref="Bind"/>.</summary>
    public PackedMatrix(int outputs, int inputs, PanelFormat format)
    {
        Outputs = outputs;
        Inputs = inputs;
        Format = format;
        Geometry = PanelGeometry.Of(format);
        Units = Geometry.Units(inputs);
    }

    public int Outputs { get; }

    public int Inputs { get; }

    public PanelFormat Format { get; }

    public PanelGeometry Geometry { get; }

    /// <summary>Units of inputs, the last one padded.</summary>
    public int Units { get; }

    public int PanelCount => (Outputs + PanelOutputs - 1) / PanelOutputs;

    public long PanelBytes => (long)Units * Geometry.UnitBytes;

    /// <summary>Bytes of weights that a product reads.</summary>
    public long Bytes => PanelCount * PanelBytes;

    public int BiasBytes => PanelCount * PanelOutputs * sizeof(float);

    /// <summary>Bytes of panels and bias, which follow each other.</summary>
    public long MemoryBytes => Bytes + BiasBytes;

    public byte* Panels { get; private set; }

    /// <summary>[outputs padded to 16], zero where there is no bias.</summary>
    public float* Bias => (float*)(Panels + Bytes);

    /// <summary>Gives it the weights that lie packed at an address aligned to <see cref="Alignment"/>; they must outlive it.</summary>
    public void Bind(byte* memory) => Panels = memory;

    /// <summary>Packs matrices of equal width one below the other, into memory that it owns.</summary>
    /// <param name="parts">Each <c>[rows, inputs]</c>; their rows become the outputs in this order.</param>
    /// <param name="biases">One vector a part, or empty for no bias.</param>
    /// <param name="forEachPanel">Runs an action for each of n panels, in parallel if it likes.</param>
    /// <param name="format">By default bf16 panels if all parts are bf16, else f32, both exact; any other rounds.</param>
    public static PackedMatrix Pack(
        IReadOnlyList<TensorView> parts, IReadOnlyList<TensorView> biases, Action<int, Action<int>> forEachPanel, PanelFormat? format = null)
    {
        var packing = new PanelPacking(parts, format ?? ExactFormat(parts));
        var matrix = new PackedMatrix(packing.Outputs, packing.Inputs, format ?? ExactFormat(parts));
        matrix._owned = new NativeBuffer(matrix.MemoryBytes);
        matrix.Bind(matrix._owned.Pointer);
        forEachPanel(matrix.PanelCount, panel => packing.Pack(panel, matrix.Panels + panel * matrix.PanelBytes));
        int output = 0;
        foreach (var bias in biases)
        {
            bias.ReadRow(0, new Span<float>(matrix.Bias + output, bias.Columns));
            output += bias.Columns;
        }

        return matrix;
    }

    /// <summary>The smallest format that rounds none of these.</summary>
    public static PanelFormat ExactFormat(IReadOnlyList<TensorView> parts) =>
        parts.All(part => part.Type == WeightType.BFloat16) ? PanelFormat.BFloat16 : PanelFormat.Float32;

    /// <summary>The weights of one output as f32, as an embedding row is read. <paramref name="row"/> has <see cref="Inputs"/> elements.</summary>
    public void ReadRow(int output, float* row)
    {
        byte* unit = Panels + output / PanelOutputs * PanelBytes + output % PanelOutputs * Geometry.OutputBytes;
        for (int input = 0; input < Inputs; unit += Geometry.UnitBytes)
        {
            int end = Math.Min(Inputs, input + Geometry.UnitInputs);
            for (int i = 0; input < end; i++, input++)
            {
                row[input] = Format switch
                {
                    PanelFormat.Float32 => ((float*)unit)[i * PanelOutputs],
                    PanelFormat.BFloat16 => BFloat16.ToSingle(((ushort*)unit)[i]),
                    _ => Int8Weight(unit, i),
                };
            }
        }
    }

    public void Dispose() => _owned?.Dispose();

    /// <param name="unit">At what it holds of the output.</param>
    private static float Int8Weight(byte* unit, int input)
    {
        var (group, inGroup) = (input / Int8Panel.GroupInputs, input % Int8Panel.GroupInputs);
        byte stored = unit[Int8Panel.ScaleBytes + group * Int8Panel.GroupBytes + Int8Panel.ByteOf(inGroup)];
        return BFloat16.ToSingle(((ushort*)unit)[group]) * (Int8Panel.IsLower(inGroup) ? stored - Int8Panel.LowerOffset : (sbyte)stored);
    }
}
