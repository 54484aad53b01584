using System.Text;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>
/// Encodes the header blocks of requests. Each stands alone and refers to nothing sent before, so those of one path are the same bytes each time.
/// </summary>
internal static class RequestHeaders
{
    private const byte MethodPost = 0x80 | 3;
    private const byte SchemeHttp = 0x80 | 6;
    private const int Authority = 1;
    private const int Path = 4;
    private const int Authorization = 23;
    private const int ContentType = 31;
    private const int UserAgent = 58;
    private const byte NeverIndexed = 0x10;

    /// <summary>The block of a call of <paramref name="path"/>, its timeout aside.</summary>
    /// <param name="authorization">The header's value, which no intermediary is to keep; or null.</param>
    public static byte[] Of(string path, string authority, string? authorization)
    {
        var block = new List<byte> { MethodPost, SchemeHttp };
        Add(block, Path, path);
        Add(block, Authority, authority);
        Add(block, ContentType, RpcHeaders.ContentType);
        Add(block, UserAgent, "grpc-dotnet-scriptedserve/0.1");
        Add(block, "te", "trailers");
        Add(block, RpcHeaders.AcceptEncoding, "identity");
        if (authorization is not null)
        {
            Add(block, Authorization, authorization, NeverIndexed);
        }

        return [.. block];
    }

    /// <summary>What is put behind the block of a call with a timeout.</summary>
    public static byte[] Timeout(TimeSpan timeout)
    {
        var block = new List<byte>();
        Add(block, RpcHeaders.Timeout, RpcTimeout.Format(timeout));
        return [.. block];
    }

    private static void Add(List<byte> block, int name, string value, byte kind = 0)
    {
        AddInteger(block, kind, 4, name);
        AddString(block, value);
    }

    private static void Add(List<byte> block, string name, string value)
    {
        block.Add(0);
        AddString(block, name);
        AddString(block, value);
    }

    private static void AddString(List<byte> block, string text)
    {
        AddInteger(block, 0, 7, text.Length);
        block.AddRange(Encoding.Latin1.GetBytes(text));
    }

    private static void AddInteger(List<byte> block, byte kind, int prefixBits, int value)
    {
        var most = (1 << prefixBits) - 1;
        if (value < most)
        {
            block.Add((byte)(kind | value));
            return;
        }

        block.Add((byte)(kind | most));
        for (value -= most; value >= 0x80; value >>= 7)
        {
            block.Add((byte)(value | 0x80));
        }

        block.Add((byte)value);
    }
}
