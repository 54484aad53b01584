using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace ScriptedServe.KvTransport;

/// <summary>The element type of cached keys and values.</summary>
public enum KvDataType
{
    Float32,
    BFloat16,
    Float16,
}

public static class KvDataTypes
{
    /// <summary>As options and status name it: f32, bf16 or f16.</summary>
    public static string Name(this KvDataType type) => type switch
    {
        KvDataType.Float32 => "f32",
        KvDataType.BFloat16 => "bf16",
        _ => "f16",
    };

    /// <exception cref="FormatException">None has this name.</exception>
    public static KvDataType Parse(string name)
    {
        foreach (var type in Enum.GetValues<KvDataType>())
        {
            if (type.Name() == name)
            {
                return type;
            }
        }

        throw new FormatException($"{string.Join(", ", Enum.GetValues<KvDataType>().Select(Name))} are known");
    }
}

/// <summary>
/// How an engine's KV pool is laid out. Per layer a run of pages; a page holds the keys and then the values of
/// <paramref name="PageTokens"/> tokens, each as <c>[kvHeads, pageTokens, headDim]</c>. One page of one layer is contiguous.
/// </summary>
/// <param name="ModelId">Names the weights; KV of different models never mixes.</param>
public sealed record KvLayout(string ModelId, int Layers, int KvHeads, int HeadDim, int PageTokens, KvDataType DataType)
{
    public int ElementBytes => DataType == KvDataType.Float32 ? 4 : 2;

    /// <summary>Bytes of one head's vector of one token.</summary>
    public int HeadBytes => HeadDim * ElementBytes;

    /// <summary>Bytes of the keys (or of the values) of one page of one layer.</summary>
    public int PlaneBytes => KvHeads * PageTokens * HeadBytes;

    /// <summary>Bytes of one page of one layer: keys and values.</summary>
    public int PageBytes => 2 * PlaneBytes;

    /// <summary>Bytes of one page over all layers.</summary>
    public long PageBytesAllLayers => (long)PageBytes * Layers;

    /// <summary>32 hex digits over everything two engines must agree on before KV may move between them. Computed anew, so that it is right after <c>with</c>.</summary>
    public string Fingerprint => Hash(string.Create(CultureInfo.InvariantCulture, $"{ModelId}|{Layers}|{KvHeads}|{HeadDim}|{PageTokens}|{DataType}"));

    /// <summary>The layout of one of several shards: as many heads each.</summary>
    /// <exception cref="ArgumentException">The heads cannot be divided so.</exception>
    public KvLayout Shard(int shards) => shards >= 1 && KvHeads % shards == 0
        ? this with { KvHeads = KvHeads / shards }
        : throw new ArgumentException($"{KvHeads} key and value heads cannot be divided among {shards} shards", nameof(shards));

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 16));
}
