using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>Writes a model as a Hugging Face folder: config.json and one safetensors file.</summary>
internal static class HuggingFaceFolder
{
    /// <param name="wide">F32 instead of BF16.</param>
    public static void Write(LlamaShape shape, string folder, bool wide)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "config.json"), shape.Config().ToJsonString());
        int size = wide ? 4 : 2;
        var header = new JsonObject();
        long offset = 0;
        foreach (var tensor in shape.Tensors())
        {
            header[tensor.HuggingFace + ".weight"] = new JsonObject
            {
                ["dtype"] = wide ? "F32" : "BF16",
                ["shape"] = tensor.IsNorm ? new JsonArray(tensor.Columns) : new JsonArray(tensor.Rows, tensor.Columns),
                ["data_offsets"] = new JsonArray(offset, offset += tensor.Elements * size),
            };
        }

        using var file = File.Create(Path.Combine(folder, "model.safetensors"));
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(header);
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        file.Write(length);
        file.Write(json);
        foreach (var tensor in shape.Tensors())
        {
            var row = new ushort[tensor.Columns];
            var floats = new float[tensor.Columns];
            for (int i = 0; i < tensor.Rows; i++)
            {
                RandomWeights.FillRow(tensor, i, row);
                RandomWeights.ToFloats(row, floats);
                file.Write(wide ? MemoryMarshal.AsBytes(floats.AsSpan()) : MemoryMarshal.AsBytes(row.AsSpan()));
            }
        }
    }
}
