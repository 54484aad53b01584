using System.Text;

namespace ScriptedServe.Contracts.Wire;

/// <summary>The percent-encoding of <c>grpc-message</c>: UTF-8, with everything but printable ASCII and '%' escaped.</summary>
internal static class StatusMessage
{
    /// <summary>Peers limit a header block to 8 KiB by default; what goes beyond this is cut off.</summary>
    public const int LargestEncodedBytes = 4096;

    private const string Hex = "0123456789ABCDEF";

    public static string Encode(string message)
    {
        var encoded = new StringBuilder(Math.Min(message.Length, LargestEncodedBytes));
        Span<byte> utf8 = stackalloc byte[4];
        foreach (var rune in message.EnumerateRunes())
        {
            var plain = rune.Value is >= 0x20 and <= 0x7e and not '%';
            var bytes = utf8[..rune.EncodeToUtf8(utf8)];
            if (encoded.Length + (plain ? 1 : 3 * bytes.Length) > LargestEncodedBytes)
            {
                break;
            }

            if (plain)
            {
                encoded.Append((char)rune.Value);
                continue;
            }

            foreach (var b in bytes)
            {
                encoded.Append('%').Append(Hex[b >> 4]).Append(Hex[b & 15]);
            }
        }

        return encoded.ToString();
    }

    /// <summary>Never fails: broken escapes stay as they are, broken UTF-8 becomes U+FFFD.</summary>
    public static string Decode(string encoded)
    {
        if (!encoded.Contains('%', StringComparison.Ordinal))
        {
            return encoded;
        }

        var bytes = new List<byte>(encoded.Length);
        for (var i = 0; i < encoded.Length; i++)
        {
            if (encoded[i] == '%' && i + 2 < encoded.Length && char.IsAsciiHexDigit(encoded[i + 1]) && char.IsAsciiHexDigit(encoded[i + 2]))
            {
                bytes.Add((byte)((Convert.FromHexString(encoded.AsSpan(i + 1, 2)))[0]));
                i += 2;
            }
            else if (encoded[i] < 0x80)
            {
                bytes.Add((byte)encoded[i]);
            }
            else
            {
                bytes.AddRange(Encoding.UTF8.GetBytes(encoded[i].ToString()));
            }
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }
}
