namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>A Hugging Face model folder, opened: what the model is, and where its weights are. Disposing closes the weights' files.</summary>
internal sealed class ModelFolder : IDisposable
{
    private ModelFolder(DecoderConfig config, Checkpoint checkpoint, ModelDescription description, string identity) =>
        (Config, Checkpoint, Description, Identity) = (config, checkpoint, description, identity);

    public DecoderConfig Config { get; }

    public Checkpoint Checkpoint { get; }

    public ModelDescription Description { get; }

    /// <summary>See <see cref="CheckpointIdentity"/>.</summary>
    public string Identity { get; }

    /// <summary>Reads config.json and generation_config.json, if present, and opens the safetensors files.</summary>
    /// <param name="maxContextTokens">Bounds the model's own context.</param>
    /// <exception cref="ModelLoadException">The folder is missing, damaged or of an unsupported kind.</exception>
    public static ModelFolder Open(string folder, int maxContextTokens)
    {
        folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (!Directory.Exists(folder))
        {
            throw new ModelLoadException(folder, "model folder", "a folder with config.json and safetensors weights", "no such folder");
        }

        var document = ConfigDocument.Read(Path.Combine(folder, "config.json"));
        var config = ModelFamilies.Read(document);
        config = config with { ContextLength = Math.Min(config.ContextLength, maxContextTokens) };
        var endTokens = ReadEndTokens(folder, document, config.VocabSize);
        var checkpoint = Checkpoint.Open(folder);
        try
        {
            var description = new ModelDescription(Path.GetFileName(folder), config.VocabSize, config.ContextLength, endTokens) { ShortContext = config.ShortContext };
            return new ModelFolder(config, checkpoint, description, CheckpointIdentity.Compute(document, checkpoint));
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    public void Dispose() => Checkpoint.Dispose();

    private static IReadOnlyList<int> ReadEndTokens(string folder, ConfigDocument config, int vocabSize)
    {
        string path = Path.Combine(folder, "generation_config.json");
        var generation = File.Exists(path) ? ConfigDocument.Read(path) : null;
        return generation?.TokenIds("eos_token_id", vocabSize)
            ?? config.TokenIds("eos_token_id", vocabSize)
            ?? config.Child("text_config")?.TokenIds("eos_token_id", vocabSize)
            ?? [];
    }
}
