using ScriptedServe.Engine.Compute.Caching;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Finds tensors by name and shape, and owns what is made of them: disposing it returns all of it, so a failure half-way leaks nothing. Vectors are read
/// at once, matrices get their weights all together with <see cref="Fill"/>.
/// </summary>
/// <param name="share">Matrices are cut to what this rank has of them.</param>
internal sealed class WeightLoader(Checkpoint checkpoint, WeightFormat format, RankShare share) : IDisposable
{
    private readonly WeightPlan _plan = new(share);
    private readonly List<IDisposable> _loaded = [];

    public RankShare Share => share;

    /// <summary>One matrix of projections that stand one below the other.</summary>
    /// <param name="prefix">Before every name; ".weight" and ".bias" come behind.</param>
    /// <param name="names">A tensor for each projection, or one that has them all.</param>
    /// <param name="rows">Rows of each projection.</param>
    /// <param name="cut">How ranks share each projection; null where every rank has the whole.</param>
    /// <param name="exact">Rounded in no format.</param>
    /// <exception cref="ModelLoadException">A tensor is missing, or of another shape or type.</exception>
    public PackedMatrix Matrix(string prefix, IReadOnlyList<string> names, int[] rows, int inputs, bool bias, MatrixCut? cut = null, bool exact = false)
    {
        int[] rowsOfTensors = names.Count == rows.Length ? rows : [rows.Sum()];
        var tensors = names.Select((name, i) => checkpoint.Matrix($"{prefix}{name}.weight", rowsOfTensors[i], inputs));
        var vectors = bias ? names.Select((name, i) => checkpoint.Vector($"{prefix}{name}.bias", rowsOfTensors[i])) : [];
        TensorView[] parts = [.. tensors.SelectMany((tensor, i) => Projections(rows, names.Count, i).Select(rows => tensor.PartOfRows(rows.First, rows.Count)))];
        TensorView[] biases = [.. vectors.SelectMany((vector, i) => Projections(rows, names.Count, i).Select(rows => vector.PartOfColumns(rows.First, rows.Count)))];
        if (cut is { } by && !share.IsWhole)
        {
            parts = [.. parts.Select(part => Cut(part, by))];
            biases = by.ByInputs && share.Rank > 0 ? [] : by.ByInputs ? biases : [.. biases.Select(bias => Cut(bias, by with { ByInputs = true }))];
        }

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

    /// <summary>Where a tensor has its projections: one each, or all of them one after the other.</summary>
    private static IEnumerable<(int First, int Count)> Projections(int[] rows, int tensors, int tensor) => tensors == rows.Length
        ? [(0, rows[tensor])]
        : rows.Select((count, i) => (rows[..i].Sum(), count));

    private TensorView Cut(TensorView whole, MatrixCut cut)
    {
        var (first, count) = share.Of(cut.ByInputs ? whole.Columns : whole.Rows, cut.Unit);
        return cut.ByInputs ? whole.PartOfColumns(first, count) : whole.PartOfRows(first, count);
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
