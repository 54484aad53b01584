namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>
/// Weights that a tensor's name and an element's place decide, so that every file of a model holds the same ones. All are exact in bf16: f32 and bf16 files
/// are one model.
/// </summary>
internal static class RandomWeights
{
    /// <summary>Row <paramref name="row"/> of the Hugging Face tensor as bf16. Norms are near 1; matrices keep the size of what passes through them.</summary>
    public static void FillRow(LlamaTensor tensor, int row, Span<ushort> values)
    {
        ulong place = Seed(tensor.HuggingFace) + (ulong)row * (ulong)tensor.Columns;
        var (center, width) = tensor.IsNorm ? (1f, 0.2f) : (0f, MathF.Sqrt(12f / tensor.Columns));
        for (int i = 0; i < values.Length; i++)
        {
            float uniform = (Mix(place + (ulong)i) >> 40) * (1f / (1 << 24)) - 0.5f;
            values[i] = (ushort)(BitConverter.SingleToUInt32Bits(center + width * uniform) >> 16);
        }
    }

    public static void ToFloats(ReadOnlySpan<ushort> values, Span<float> floats)
    {
        for (int i = 0; i < values.Length; i++)
        {
            floats[i] = BitConverter.UInt32BitsToSingle((uint)values[i] << 16);
        }
    }

    /// <summary>FNV-1a.</summary>
    private static ulong Seed(string name) => name.Aggregate(14695981039346656037UL, (hash, letter) => (hash ^ letter) * 1099511628211UL);

    /// <summary>The finalizer of SplitMix64.</summary>
    private static ulong Mix(ulong x)
    {
        x = (x + 0x9E3779B97F4A7C15UL) * 0xBF58476D1CE4E5B9UL;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EBUL;
        return x ^ (x >> 31);
    }
}
