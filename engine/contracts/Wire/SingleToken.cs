using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Contracts.Wire;

/// <summary>Reads the encoding of a <see cref="GenerateChunk"/> that has one token and no other field.</summary>
internal static class SingleToken
{
    /// <summary>Field 1, length-delimited: packed token_ids.</summary>
    private const byte Tag = (GenerateChunk.TokenIdsFieldNumber << 3) | 2;

    private const int MostTokenBytes = 5;

    /// <returns>False for any other chunk, and for what is none.</returns>
    public static bool TryRead(ReadOnlySpan<byte> message, out int token)
    {
        token = 0;
        if (message.Length is < 3 or > 2 + MostTokenBytes || message[0] != Tag || message[1] != message.Length - 2)
        {
            return false;
        }

        // A varint of seven bits a byte, lowest first, whose last byte alone has no high bit. Ids are not negative: 31 bits at most.
        var value = 0L;
        for (var index = 2; index < message.Length; index++)
        {
            if (message[index] < 0x80 != (index == message.Length - 1))
            {
                return false;
            }

            value |= (long)(message[index] & 0x7f) << (7 * (index - 2));
        }

        token = (int)value;
        return value <= int.MaxValue;
    }
}
