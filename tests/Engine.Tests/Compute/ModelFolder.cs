using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A temporary model folder that a test writes or damages; gone when disposed.</summary>
internal sealed partial class ModelFolder : IDisposable
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

    /// <summary>Changes the bytes of one tensor of model.safetensors.</summary>
    public void EditTensor(string name, SpanAction edit)
    {
        byte[] bytes = System.IO.File.ReadAllBytes(File("model.safetensors"));
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        var offsets = JsonNode.Parse(bytes.AsSpan(8, length))![name]!["data_offsets"]!.AsArray();
        var (begin, end) = ((int)offsets[0]!, (int)offsets[1]!);
        edit(bytes.AsSpan(8 + length + begin, end - begin));
        System.IO.File.WriteAllBytes(File("model.safetensors"), bytes);
    }

    /// <summary>Changes every matrix of model.safetensors, which is in F32, row by row.</summary>
    public void EditMatrices(RowAction edit)
    {
        byte[] bytes = System.IO.File.ReadAllBytes(File("model.safetensors"));
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        foreach (var (name, value) in JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject().Where(entry => entry.Value!["shape"]?.AsArray().Count == 2))
        {
            var (columns, offsets) = ((int)value!["shape"]![1]!, value["data_offsets"]!);
            var data = MemoryMarshal.Cast<byte, float>(bytes.AsSpan(8 + length)[(int)offsets[0]!..(int)offsets[1]!]);
            for (; !data.IsEmpty; data = data[columns..])
            {
                edit(name, data[..columns]);
            }
        }

        System.IO.File.WriteAllBytes(File("model.safetensors"), bytes);
    }

    /// <summary>
    /// Puts the experts of each block of model.safetensors into two tensors, <c>gate_up_proj</c> and <c>down_proj</c>, under <paramref name="place"/>, as newer
    /// versions of transformers hold them.
    /// </summary>
    /// <param name="place">For instance <c>mlp.</c>: what comes before <c>experts.</c> and the router's <c>gate</c>.</param>
    public void FuseExperts(string place)
    {
        byte[] bytes = System.IO.File.ReadAllBytes(File("model.safetensors"));
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        var header = JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject();
        var fused = new JsonObject();
        var data = new List<byte>();
        foreach (var tensors in header.Where(entry => entry.Key != "__metadata__").GroupBy(entry => FusedName(entry.Key, place)))
        {
            int begin = data.Count;
            var parts = tensors.OrderBy(entry => ExpertOf(entry.Key)).ThenBy(entry => IsUp(entry.Key)).ToList();
            foreach (var (_, value) in parts)
            {
                var offsets = value!["data_offsets"]!;
                data.AddRange(bytes.AsSpan(8 + length)[(int)offsets[0]!..(int)offsets[1]!]);
            }

            int[] shape = [.. parts[0].Value!["shape"]!.AsArray().Select(size => (int)size!)];
            int experts = parts.Select(entry => ExpertOf(entry.Key)).Distinct().Count();
            fused[tensors.Key] = new JsonObject
            {
                ["dtype"] = parts[0].Value!["dtype"]!.DeepClone(),
                ["shape"] = ExpertOf(parts[0].Key) < 0 ? parts[0].Value!["shape"]!.DeepClone() : new JsonArray(experts, parts.Count / experts * shape[0], shape[1]),
                ["data_offsets"] = new JsonArray(begin, data.Count),
            };
        }

        WriteFile(JsonSerializer.SerializeToUtf8Bytes(fused), [.. data]);

        static int ExpertOf(string name) => Expert().Match(name) is { Success: true } match ? int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture) : -1;

        static bool IsUp(string name) => Expert().Match(name).Groups[3].Value is "up_proj" or "w3";

        static string FusedName(string name, string place) => Expert().Match(name) is { Success: true } match
            ? $"{match.Groups[1].Value}{place}experts.{(match.Groups[3].Value is "w2" or "down_proj" ? "down_proj" : "gate_up_proj")}"
            : Router().Replace(name, $"$1{place}gate.weight");
    }

    /// <summary>Puts the tensors of a folder of several files into one, without an index.</summary>
    public void Join()
    {
        string[] files = [.. Directory.GetFiles(Path, "model-*.safetensors").Order(StringComparer.Ordinal)];
        if (files.Length == 0)
        {
            return;
        }

        var joined = new JsonObject();
        var data = new List<byte>();
        foreach (string file in files)
        {
            byte[] bytes = System.IO.File.ReadAllBytes(file);
            int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            foreach (var (name, value) in JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject().Where(entry => entry.Key != "__metadata__"))
            {
                int[] offsets = [.. value!["data_offsets"]!.AsArray().Select(offset => data.Count + (int)offset!)];
                joined[name] = new JsonObject { ["dtype"] = value["dtype"]!.DeepClone(), ["shape"] = value["shape"]!.DeepClone(), ["data_offsets"] = new JsonArray(offsets[0], offsets[1]) };
            }

            data.AddRange(bytes.AsSpan(8 + length));
            System.IO.File.Delete(file);
        }

        WriteFile(JsonSerializer.SerializeToUtf8Bytes(joined), [.. data]);
        System.IO.File.Delete(File("model.safetensors.index.json"));
    }

    /// <summary>Spreads the tensors of model.safetensors over several files, neighbours in different ones, with an index; one file stays as it is.</summary>
    public void Shard(int files)
    {
        if (files == 1)
        {
            return;
        }

        byte[] bytes = System.IO.File.ReadAllBytes(File("model.safetensors"));
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        var tensors = JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject().Where(entry => entry.Key != "__metadata__").ToList();
        var places = new JsonObject();
        for (int file = 0; file < files; file++)
        {
            string fileName = $"model-{file + 1:D5}-of-{files:D5}.safetensors";
            var header = new JsonObject();
            var data = new List<byte>();
            foreach (var (name, value) in tensors.Where((_, i) => i % files == file))
            {
                int begin = data.Count;
                data.AddRange(bytes.AsSpan(8 + length)[(int)value!["data_offsets"]![0]!..(int)value["data_offsets"]![1]!]);
                header[name] = new JsonObject { ["dtype"] = value["dtype"]!.DeepClone(), ["shape"] = value["shape"]!.DeepClone(), ["data_offsets"] = new JsonArray(begin, data.Count) };
                places[name] = fileName;
            }

            WriteFile(JsonSerializer.SerializeToUtf8Bytes(header), [.. data], fileName);
        }

        System.IO.File.WriteAllText(File("model.safetensors.index.json"), new JsonObject { ["weight_map"] = places }.ToJsonString());
        System.IO.File.Delete(File("model.safetensors"));
    }

    /// <summary>Replaces a file of weights by this header and data.</summary>
    public void WriteFile(ReadOnlySpan<byte> header, ReadOnlySpan<byte> data, string name = "model.safetensors")
    {
        var length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        System.IO.File.WriteAllBytes(File(name), [.. length, .. header, .. data]);
    }

    public delegate void SpanAction(Span<byte> data);

    public delegate void RowAction(string tensor, Span<float> row);

    public void Dispose() => Directory.Delete(Path, recursive: true);

    [GeneratedRegex(@"^(.*layers\.\d+\.)\w+\.experts\.(\d+)\.(\w+)\.weight$")]
    private static partial Regex Expert();

    [GeneratedRegex(@"^(.*layers\.\d+\.)\w+\.gate\.weight$")]
    private static partial Regex Router();

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
                float value = (random.NextSingle() - 0.5f) * 0.8f + (shape.Length == 1 && name.EndsWith("weight", StringComparison.Ordinal) ? 1 : 0);
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
        var names = config.Names;
        var (hidden, headDim) = (config.Hidden, config.HeadDim);
        yield return (names.Embedding + ".weight", [config.VocabSize, hidden]);
        yield return (names.FinalNorm + ".weight", [hidden]);
        if (!config.TiedEmbeddings)
        {
            yield return (names.Output + ".weight", [config.VocabSize, hidden]);
        }

        for (int layer = 0; layer < config.Layers; layer++)
        {
            string block = names.Block(layer);
            var norms = new List<(string Name, int Length)> { (names.AttentionNorm, hidden), (names.FeedForwardNorm, hidden) };
            norms.AddRange(config.PostNorms ? [(names.PostAttentionNorm, hidden), (names.PostFeedForwardNorm, hidden)] : []);
            norms.AddRange(config.QueryKeyNorm ? [(names.QueryNorm, headDim), (names.KeyNorm, headDim)] : []);
            foreach (var (name, length) in norms)
            {
                yield return ($"{block}{name}.weight", [length]);
            }

            foreach (var (name, outputs, inputs, bias) in Projections(config, config.Blocks[layer].Experts))
            {
                yield return ($"{block}{name}.weight", [outputs, inputs]);
                if (bias)
                {
                    yield return ($"{block}{name}.bias", [outputs]);
                }
            }
        }
    }

    private static IEnumerable<(string Name, int Outputs, int Inputs, bool Bias)> Projections(DecoderConfig config, ExpertsConfig? experts)
    {
        var names = config.Names;
        int[] heads = [config.QuerySize, config.KvSize, config.KvSize];
        foreach (var (name, outputs) in names.Qkv.Zip(names.Qkv.Count == 1 ? [heads.Sum()] : heads))
        {
            yield return (name, outputs, config.Hidden, config.QkvBias);
        }

        yield return (names.AttentionOutput, config.Hidden, config.QuerySize, config.OutputBias);
        if (experts is not null)
        {
            yield return (names.Router, experts.Count, config.Hidden, false);
        }

        for (int expert = 0; expert < (experts?.Count ?? 1); expert++)
        {
            string prefix = experts is null ? "" : $"{names.Experts}{expert}";
            var gateUp = experts is null ? names.GateUp : names.ExpertGateUp;
            int width = experts?.FeedForward ?? config.FeedForward;
            bool bias = experts is null && config.FeedForwardBias;
            foreach (string name in gateUp)
            {
                yield return (prefix + name, 2 * width / gateUp.Count, config.Hidden, bias);
            }

            yield return (prefix + (experts is null ? names.Down : names.ExpertDown), config.Hidden, width, bias);
        }
    }
}
