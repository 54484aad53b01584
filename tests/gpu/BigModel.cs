using System.Text.Json.Nodes;
using ScriptedServe.ComputeBenchmarks.Peer;

namespace ScriptedServe.GpuChecks;

/// <summary>A folder of Llama-3.1-8B's shape with random weights in bf16, made once on the machine itself: 16 GB.</summary>
internal static class BigModel
{
    public const int Context = 16384;

    public static LlamaShape Shape { get; } = new("llama-8b-random", Layers: 32, Hidden: 4096, Heads: 32, KvHeads: 8, FeedForward: 14336, Vocab: 128256);

    /// <returns>The folder, below <paramref name="folder"/>.</returns>
    public static string Make(string folder)
    {
        string path = Path.Combine(folder, Shape.Name), finished = Path.Combine(path, "finished");
        if (!File.Exists(finished))
        {
            HuggingFaceFolder.Write(Shape, path, wide: false);
            string configPath = Path.Combine(path, "config.json");
            var config = JsonNode.Parse(File.ReadAllText(configPath))!.AsObject();
            (config["max_position_embeddings"], config["torch_dtype"]) = (Context, "bfloat16");
            File.WriteAllText(configPath, config.ToJsonString());
            File.WriteAllText(finished, "");
        }

        return path;
    }
}
