using System.Runtime.InteropServices;
using System.Text;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>Types of GGUF tensors, by their numbers in the file.</summary>
internal enum GgufType : uint
{
    F32 = 0,

    /// <summary>Groups of 32: a scale in f16, then 32 signed bytes.</summary>
    Q8 = 8,
    BF16 = 30,
}

/// <summary>
/// Writes a model as a GGUF file, version 3 (the format: github.com/ggml-org/ggml, docs/gguf.md): without a vocabulary but for its size, which is what
/// measuring needs. Matrices have the given type, norms are f32.
/// </summary>
internal static class GgufFile
{
    private const int Alignment = 32;
    private const int Group = 32;
    private const int GroupBytes = 2 + Group;

    // Numbers of metadata types.
    private const uint UInt32 = 4;
    private const uint Float32 = 6;
    private const uint Text = 8;

    public static void Write(LlamaShape shape, string path, GgufType type)
    {
        using var file = new BinaryWriter(File.Create(path));
        var tensors = shape.Tensors().ToList();
        var metadata = Metadata(shape).ToList();
        file.Write("GGUF"u8);
        file.Write(3u);
        file.Write((ulong)tensors.Count);
        file.Write((ulong)metadata.Count);
        foreach (var (key, value) in metadata)
        {
            WriteText(file, key);
            WriteValue(file, value);
        }

        ulong offset = 0;
        foreach (var tensor in tensors)
        {
            var stored = StoredType(tensor, type);
            WriteText(file, tensor.Gguf + ".weight");
            file.Write(tensor.IsNorm ? 1u : 2u);
            file.Write((ulong)tensor.Columns);
            if (!tensor.IsNorm)
            {
                file.Write((ulong)tensor.Rows);
            }

            file.Write((uint)stored);
            file.Write(offset);
            offset = Aligned(offset + (ulong)(tensor.Rows * RowBytes(tensor, stored)));
        }

        foreach (var tensor in tensors)
        {
            Pad(file);
            WriteRows(file, tensor, StoredType(tensor, type));
        }

        Pad(file);
    }

    private static IEnumerable<(string Key, object Value)> Metadata(LlamaShape shape) =>
    [
        ("general.architecture", "llama"),
        ("general.name", shape.Name),
        ("general.alignment", (uint)Alignment),
        ("llama.context_length", (uint)LlamaShape.Context),
        ("llama.embedding_length", (uint)shape.Hidden),
        ("llama.block_count", (uint)shape.Layers),
        ("llama.feed_forward_length", (uint)shape.FeedForward),
        ("llama.attention.head_count", (uint)shape.Heads),
        ("llama.attention.head_count_kv", (uint)shape.KvHeads),
        ("llama.attention.layer_norm_rms_epsilon", (float)LlamaShape.NormEpsilon),
        ("llama.rope.dimension_count", (uint)shape.HeadDim),
        ("llama.rope.freq_base", (float)LlamaShape.RopeTheta),
        ("llama.vocab_size", (uint)shape.Vocab),
        ("tokenizer.ggml.model", "no_vocab"),
    ];

    private static GgufType StoredType(LlamaTensor tensor, GgufType type) => tensor.IsNorm ? GgufType.F32 : type;

    private static long RowBytes(LlamaTensor tensor, GgufType type) => type switch
    {
        GgufType.F32 => tensor.Columns * 4L,
        GgufType.BF16 => tensor.Columns * 2L,
        _ => tensor.Columns / Group * (long)GroupBytes,
    };

    private static void WriteRows(BinaryWriter file, LlamaTensor tensor, GgufType type)
    {
        var row = new ushort[tensor.Columns];
        var floats = new float[tensor.Columns];
        var groups = new byte[tensor.Columns / Group * GroupBytes];
        for (int i = 0; i < tensor.Rows; i++)
        {
            RandomWeights.FillRow(tensor, tensor.SourceOfGgufRow(i), row);
            RandomWeights.ToFloats(row, floats);
            switch (type)
            {
                case GgufType.F32:
                    file.Write(MemoryMarshal.AsBytes(floats.AsSpan()));
                    break;
                case GgufType.BF16:
                    file.Write(MemoryMarshal.AsBytes(row.AsSpan()));
                    break;
                default:
                    Quantize(floats, groups);
                    file.Write(groups);
                    break;
            }
        }
    }

    /// <summary>Each group by its largest element, which becomes 127.</summary>
    private static void Quantize(ReadOnlySpan<float> values, Span<byte> groups)
    {
        for (int group = 0; group < values.Length / Group; group++)
        {
            var source = values.Slice(group * Group, Group);
            var target = groups.Slice(group * GroupBytes, GroupBytes);
            float largest = 0;
            foreach (float value in source)
            {
                largest = Math.Max(largest, Math.Abs(value));
            }

            float scale = largest / 127;
            BitConverter.TryWriteBytes(target, (Half)scale);
            for (int i = 0; i < Group; i++)
            {
                target[2 + i] = scale == 0 ? (byte)0 : (byte)(sbyte)MathF.Round(source[i] / scale, MidpointRounding.AwayFromZero);
            }
        }
    }

    private static void WriteValue(BinaryWriter file, object value)
    {
        switch (value)
        {
            case uint number:
                file.Write(UInt32);
                file.Write(number);
                break;
            case float number:
                file.Write(Float32);
                file.Write(number);
                break;
            default:
                file.Write(Text);
                WriteText(file, (string)value);
                break;
        }
    }

    private static void WriteText(BinaryWriter file, string text)
    {
        file.Write((ulong)Encoding.UTF8.GetByteCount(text));
        file.Write(Encoding.UTF8.GetBytes(text));
    }

    private static ulong Aligned(ulong offset) => (offset + Alignment - 1) / Alignment * Alignment;

    private static void Pad(BinaryWriter file)
    {
        file.Flush();
        ulong position = (ulong)file.BaseStream.Position;
        file.Write(new byte[Aligned(position) - position]);
    }
}
