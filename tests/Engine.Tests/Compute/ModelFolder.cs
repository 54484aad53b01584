using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A temporary model folder that a test writes or damages; gone when disposed.</summary>
internal sealed class ModelFolder : IDisposable
{
    public ModelFolder() => Directory.CreateDirectory(Path);

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"scriptedserve-{Guid.NewGuid():N}");

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public static ModelFolder CopyOf(string name)
    {
        var folder = new ModelFolder();
        foreach (string file in Directory.GetFiles(GoldenModels.Folder(name)))
        {
            System.IO.File.Copy(file, folder.File(System.IO.Path.GetFileName(file)));
        }

        return folder;
    }

    /// <summary>A model of the given shape with small random weights, written in the given type.</summary>
    public static ModelFolder Random(DecoderConfig config, JsonObject json, string type, int seed)
    {
        var folder = new ModelFolder();
        System.IO.File.WriteAllText(folder.File("config.json"), json.ToJsonString());
        folder.WriteWeights(Tensors(config), type, new Random(seed));
        return folder;
    }

    /// <summary>Changes config.json.</summary>
    public void EditConfig(Action<JsonObject> edit)
    {
        var config = JsonNode.Parse(System.IO.File.ReadAllText(File("config.json")))!.AsObject();
        edit(config);
        System.IO.File.WriteAllText(File("config.json"), config.ToJsonString());
    }

    /// <summary>Changes the header of model.safetensors; the data stay where they are.</summary>
    public void EditHeader(Action<JsonObject> edit)
    {
        byte[] bytes = System.IO.File.ReadAllBytes(File("model.safetensors"));
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        var header = JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject();
        edit(header);
        WriteFile(JsonSerializer.SerializeToUtf8Bytes(header), bytes.AsSpan(8 + length));
    }

    /// <summary>Replaces model.safetensors by this header and data.</summary>
    public void WriteFile(ReadOnlySpan<byte> header, ReadOnlySpan<byte> data)
    {
        var length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        System.IO.File.WriteAllBytes(File("model.safetensors"), [.. length, .. header, .. data]);
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);

    private void WriteWeights(IEnumerable<(string Name, int[] Shape)> tensors, string type, Random random)
    {
        var header = new JsonObject();
        var data = new List<byte>();
        foreach (var (name, shape) in tensors)
        {
            int begin = data.Count;
            int count = shape.Aggregate(1, (product, size) => product * size);
            for (int i = 0; i < count; i++)
            {
                float value = (random.NextSingle() - 0.5f) * 0.8f + (name.Contains("norm", StringComparison.Ordinal) ? 1 : 0);
                data.AddRange(type switch
                {
                    "F32" => BitConverter.GetBytes(value),
                    "F16" => BitConverter.GetBytes((Half)value),
                    _ => BitConverter.GetBytes((ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)),
                });
            }

            header[name] = new JsonObject
            {
                ["dtype"] = type,
                ["shape"] = new JsonArray([.. shape.Select(size => (JsonNode)size)]),
                ["data_offsets"] = new JsonArray(begin, data.Count),
            };
        }

        WriteFile(JsonSerializer.SerializeToUtf8Bytes(header), [.. data]);
    }

    private static IEnumerable<(string Name, int[] Shape)> Tensors(DecoderConfig config)
    {
        var (hidden, feedForward) = (config.Hidden, config.FeedForward);
        yield return ("model.embed_tokens.weight", [config.VocabSize, hidden]);
        yield return ("model.norm.weight", [hidden]);
        if (!config.TiedEmbeddings)
        {
            yield return ("lm_head.weight", [config.VocabSize, hidden]);
        }

        for (int layer = 0; layer < config.Layers; layer++)
        {
            string prefix = $"model.layers.{layer}.";
            yield return (prefix + "input_layernorm.weight", [hidden]);
            yield return (prefix + "post_attention_layernorm.weight", [hidden]);
            (string Name, int Outputs, int Inputs, bool Bias)[] projections =
            [
                ("self_attn.q_proj", config.QuerySize, hidden, config.QkvBias),
                ("self_attn.k_proj", config.KvSize, hidden, config.QkvBias),
                ("self_attn.v_proj", config.KvSize, hidden, config.QkvBias),
                ("self_attn.o_proj", hidden, config.QuerySize, config.OutputBias),
                ("mlp.gate_proj", feedForward, hidden, config.FeedForwardBias),
                ("mlp.up_proj", feedForward, hidden, config.FeedForwardBias),
                ("mlp.down_proj", hidden, feedForward, config.FeedForwardBias),
            ];
            foreach (var (name, outputs, inputs, bias) in projections)
            {
                yield return ($"{prefix}{name}.weight", [outputs, inputs]);
                if (bias)
                {
                    yield return ($"{prefix}{name}.bias", [outputs]);
                }
            }
        }
    }
}
