using ScriptedServe.Engine.Compute.Caching;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Finds tensors by name and shape, and owns what is made of them: disposing it returns all of it, so a failure half-way leaks nothing. Vectors are read
/// at once, matrices get their weights all together with <see cref="Fill"/>.
/// </summary>
internal sealed class WeightLoader(Checkpoint checkpoint, WeightFormat format) : IDisposable
{
    private readonly WeightPlan _plan = new();
    private readonly List<IDisposable> _loaded = [];

    /// <summary>One matrix of tensors that stand one below the other.</summary>
    /// <param name="prefix">Before every name; ".weight" and ".bias" come behind.</param>
    /// <param name="outputs">Rows of all tensors together.</param>
    /// <param name="rows">Rows of each tensor; by default all have as many, and one tensor has them all.</param>
    /// <param name="exact">Rounded in no format.</param>
    /// <exception cref="ModelLoadException">A tensor is missing, or of another shape or type.</exception>
    public PackedMatrix Matrix(string prefix, IReadOnlyList<string> names, int outputs, int inputs, bool bias, int[]? rows = null, bool exact = false)
    {
        int RowsOf(int part) => names.Count == rows?.Length ? rows[part] : outputs / names.Count;
        TensorView[] parts = [.. names.Select((name, part) => checkpoint.Matrix($"{prefix}{name}.weight", RowsOf(part), inputs))];
        TensorView[] biases = bias ? [.. names.Select((name, part) => checkpoint.Vector($"{prefix}{name}.bias", RowsOf(part)))] : [];
        return _plan.Add(parts, biases, exact || format == WeightFormat.Auto ? PackedMatrix.ExactFormat(parts) : PanelFormatOf(format));
    }

    /// <summary>A vector as f32, each element plus <paramref name="offset"/>.</summary>
    /// <exception cref="ModelLoadException">As <see cref="Matrix"/>, or it has elements that are not finite.</exception>
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

    /// <summary>Gives the matrices their weights; see <see cref="WeightPlan.Fill"/>.</summary>
    /// <returns>Whether other processes share them.</returns>
    public bool Fill(WeightCache? cache, string identity, WorkerTeam team) => Keep(_plan.Fill(cache, checkpoint, identity, team)).Shared;

    public void Dispose()
    {
        _loaded.ForEach(item => item.Dispose());
        _loaded.Clear();
    }

    private static PanelFormat PanelFormatOf(WeightFormat format) => format switch
    {
        WeightFormat.Float32 => PanelFormat.Float32,
        WeightFormat.BFloat16 => PanelFormat.BFloat16,
        WeightFormat.Int8 => PanelFormat.Int8,
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };

    private T Keep<T>(T item)
        where T : IDisposable
    {
        _loaded.Add(item);
        return item;
    }
}
