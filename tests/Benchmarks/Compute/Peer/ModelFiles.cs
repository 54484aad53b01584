namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>The models' files in a folder: written when first asked for, and deleted with it unless the folder was chosen to be kept.</summary>
internal sealed class ModelFiles : IDisposable
{
    private readonly string _folder;
    private readonly bool _keep;

    public ModelFiles(string? folder)
    {
        _keep = folder is not null;
        _folder = folder ?? Path.Combine(Path.GetTempPath(), $"scriptedserve-llama-{Guid.NewGuid():N}");
        Directory.CreateDirectory(_folder);
    }

    /// <summary>The Hugging Face folder.</summary>
    public string HuggingFace(LlamaShape shape, WeightKind kind) =>
        Once($"{shape.Name}-{(kind.Wide ? "f32" : "bf16")}", path => HuggingFaceFolder.Write(shape, path, kind.Wide), Directory.Move);

    public string Gguf(LlamaShape shape, WeightKind kind) =>
        Once($"{shape.Name}-{kind.Gguf.ToString().ToLowerInvariant()}.gguf", path => GgufFile.Write(shape, path, kind.Gguf), File.Move);

    public void Dispose()
    {
        if (!_keep)
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    /// <summary>Under its name only when complete, so that what a stopped run left is not taken for a model.</summary>
    private string Once(string name, Action<string> write, Action<string, string> move)
    {
        string path = Path.Combine(_folder, name);
        if (!Path.Exists(path))
        {
            string unfinished = $"{path}.{Guid.NewGuid():N}.part";
            write(unfinished);
            move(unfinished, path);
        }

        return path;
    }
}
