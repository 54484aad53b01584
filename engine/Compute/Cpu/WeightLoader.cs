using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Reads tensors into memory of this process, repacked for the kernels, and owns what it made: disposing it returns all of it, so a failure
/// half-way leaks nothing.
/// </summary>
internal sealed class WeightLoader(Checkpoint checkpoint, WeightFormat format, WorkerTeam team) : IDisposable
{
    /// <summary>Rows that a thread checks at a time.</summary>
    private const int CheckedRows = 64;

    private readonly List<IDisposable> _loaded = [];

    /// <summary>One matrix of tensors that stand one below the other, all checked before any is packed.</summary>
    /// <param name="prefix">Before every name; ".weight" and ".bias" come behind.</param>
    /// <param name="outputs">Rows of all tensors together.</param>
    /// <param name="rows">Rows of each tensor; by default all have as many, and one tensor has them all.</param>
    /// <param name="exact">Rounded in no format.</param>
    /// <exception cref="ModelLoadException">A tensor is missing, of another shape or type, or has elements that are not finite.</exception>
    public PackedMatrix Matrix(string prefix, IReadOnlyList<string> names, int outputs, int inputs, bool bias, int[]? rows = null, bool exact = false)
    {
        int RowsOf(int part) => names.Count == rows?.Length ? rows[part] : outputs / names.Count;
        TensorView[] parts = [.. names.Select((name, part) => checkpoint.Matrix($"{prefix}{name}.weight", RowsOf(part), inputs))];
        TensorView[] biases = bias ? [.. names.Select((name, part) => checkpoint.Vector($"{prefix}{name}.bias", RowsOf(part)))] : [];
        foreach (var tensor in parts.Concat(biases))
        {
            team.For((tensor.Rows + CheckedRows - 1) / CheckedRows, (block, _) =>
            {
                for (int row = block * CheckedRows; row < Math.Min(tensor.Rows, (block + 1) * CheckedRows); row++)
                {
                    tensor.CheckFinite(row);
                }
            });
        }

        return Keep(PackedMatrix.Pack(parts, biases, (panels, pack) => team.For(panels, (panel, _) => pack(panel)), exact ? null : PanelFormatOf(format)));
    }

    /// <summary>A vector as f32, each element plus <paramref name="offset"/>.</summary>
    /// <exception cref="ModelLoadException">As <see cref="Matrix"/>.</exception>
    public unsafe NativeBuffer Vector(string name, int length, float offset)
    {
        var tensor = checkpoint.Vector(name, length);
        tensor.CheckFinite(0);
        var buffer = Keep(NativeBuffer.OfFloats(length));
        tensor.ReadRow(0, new Span<float>(buffer.Floats, length));
        for (int i = 0; i < length; i++)
        {
            buffer.Floats[i] += offset;
        }

        return buffer;
    }

    public void Dispose()
    {
        _loaded.ForEach(item => item.Dispose());
        _loaded.Clear();
    }

    private static PanelFormat? PanelFormatOf(WeightFormat format) => format switch
    {
        WeightFormat.Float32 => PanelFormat.Float32,
        WeightFormat.BFloat16 => PanelFormat.BFloat16,
        WeightFormat.Int8 => PanelFormat.Int8,
        _ => null,
    };

    private T Keep<T>(T item)
        where T : IDisposable
    {
        _loaded.Add(item);
        return item;
    }
}
