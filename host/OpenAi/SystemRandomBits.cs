using System.Buffers.Binary;
using System.Security.Cryptography;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Draws from the system's cryptographic source, many bits at a time: a request needs several numbers, and each draw costs as much as all of them. Thread-safe.</summary>
internal sealed class SystemRandomBits
{
    private readonly Lock gate = new();
    private readonly byte[] drawn = new byte[512];
    private int left;

    public ulong Next()
    {
        lock (gate)
        {
            if (left == 0)
            {
                RandomNumberGenerator.Fill(drawn);
                left = drawn.Length;
            }

            left -= sizeof(ulong);
            return BinaryPrimitives.ReadUInt64LittleEndian(drawn.AsSpan(left));
        }
    }
}
