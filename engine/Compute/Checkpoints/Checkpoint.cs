using System.Text.Json;

namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>Rows of a tensor of three dimensions, counted over its first two.</summary>
internal sealed record TensorPart(string Tensor, long[] Shape, int FirstRow, int Rows);

/// <summary>
/// The weights of a Hugging Face model folder: <c>model.safetensors</c>, or the shards that <c>model.safetensors.index.json</c> lists.
/// Owns the mappings; the tensors it hands out are valid until it is disposed.
/// </summary>
internal sealed unsafe class Checkpoint : IDisposable
{
    private const string SingleFile = "model.safetensors";
    private const string IndexFile = "model.safetensors.index.json";

    private readonly string _folder;
    private readonly Dictionary<string, SafetensorsFile> _shards = new(StringComparer.Ordinal);

    private readonly Dictionary<string, TensorPart> _parts = new(StringComparer.Ordinal);

    /// <summary>Which shard has a tensor; null where there is one file only.</summary>
    private Dictionary<string, string>? _index;

    private Checkpoint(string folder) => _folder = folder;

    /// <summary>The files, in the order of their names.</summary>
    public IEnumerable<SafetensorsFile> Shards => _shards.OrderBy(shard => shard.Key, StringComparer.Ordinal).Select(shard => shard.Value);

    /// <exception cref="ModelLoadException">No weights, an unreadable index, a missing or damaged file.</exception>
    public static Checkpoint Open(string folder)
    {
        var checkpoint = new Checkpoint(folder);
        try
        {
            checkpoint.OpenFiles();
            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    public bool Has(string name) => _index is null ? _shards[SingleFile].Tensors.ContainsKey(name) : _index.ContainsKey(name);

    /// <summary>Gives some rows of a tensor a name of their own, by which <see cref="Matrix"/> finds them.</summary>
    public void AddPart(string name, TensorPart part) => _parts[name] = part;

    /// <summary>A weight matrix of exactly this shape.</summary>
    /// <exception cref="ModelLoadException">Missing, of another shape, or of a type that cannot be computed with.</exception>
    public TensorView Matrix(string name, int rows, int columns)
    {
        if (!_parts.TryGetValue(name, out var part))
        {
            return Find(name, rows, columns, [rows, columns]);
        }

        return Find(part.Tensor, checked((int)(part.Shape[0] * part.Shape[1])), columns, part.Shape).PartOfRows(part.FirstRow, part.Rows);
    }

    /// <summary>A weight vector of exactly this length, as a matrix of one row.</summary>
    /// <exception cref="ModelLoadException">As <see cref="Matrix"/>.</exception>
    public TensorView Vector(string name, int length) => Find(name, 1, length, [length]);

    public void Dispose()
    {
        foreach (var shard in _shards.Values)
        {
            shard.Dispose();
        }
    }

    private TensorView Find(string name, int rows, int columns, long[] shape)
    {
        string fileName = SingleFile;
        if (_index is not null && !_index.TryGetValue(name, out fileName!))
        {
            throw new ModelLoadException(Path.Combine(_folder, IndexFile), $"tensor '{name}'", $"[{string.Join(", ", shape)}]", "no such tensor");
        }

        var shard = _shards[fileName];
        if (!shard.Tensors.TryGetValue(name, out var entry))
        {
            throw new ModelLoadException(shard.Path, $"tensor '{name}'", $"[{string.Join(", ", shape)}]", "no such tensor");
        }

        if (!entry.Shape.AsSpan().SequenceEqual(shape))
        {
            throw new ModelLoadException(shard.Path, $"shape of tensor '{name}'", $"[{string.Join(", ", shape)}]", $"[{string.Join(", ", entry.Shape)}]");
        }

        var type = entry.Type switch
        {
            "F32" => WeightType.Float32,
            "F16" => WeightType.Float16,
            "BF16" => WeightType.BFloat16,
            _ => throw new ModelLoadException(shard.Path, $"dtype of tensor '{name}'", "F32, F16 or BF16", entry.Type),
        };
        return new TensorView(shard.Data(entry), type, rows, columns, new TensorOrigin(shard.Path, name));
    }

    private void OpenFiles()
    {
        string single = Path.Combine(_folder, SingleFile);
        string index = Path.Combine(_folder, IndexFile);
        if (File.Exists(single))
        {
            _shards[SingleFile] = SafetensorsFile.Open(single);
        }
        else if (File.Exists(index))
        {
            _index = ReadIndex(index);
            foreach (string fileName in _index.Values.Distinct())
            {
                _shards[fileName] = SafetensorsFile.Open(Path.Combine(_folder, fileName));
            }
        }
        else
        {
            throw new ModelLoadException(_folder, "weights", $"{SingleFile} or {IndexFile}", "neither");
        }
    }

    private static Dictionary<string, string> ReadIndex(string path)
    {
        var index = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (tensor, value) in ConfigDocument.Read(path).Child("weight_map", required: true)!.Properties())
        {
            string? fileName = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            // The index may name neighbours only: no path out of the folder.
            if (string.IsNullOrEmpty(fileName) || fileName != Path.GetFileName(fileName) || fileName is "." or "..")
            {
                throw new ModelLoadException(path, $"weight_map of tensor '{tensor}'", "the name of a file in the folder", value.GetRawText());
            }

            if (!index.TryAdd(tensor, fileName))
            {
                throw new ModelLoadException(path, $"weight_map of tensor '{tensor}'", "one file", "two entries");
            }
        }

        return index;
    }
}
