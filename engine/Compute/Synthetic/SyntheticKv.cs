using System.Numerics;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Synthetic;

/// <summary>Where a synthetic token's KV lies: eight bytes of hash at the start of each head's key and value, made of one number a token and layer.</summary>
internal sealed unsafe class SyntheticKv(KvLayout layout)
{
    public const int HashBytes = sizeof(ulong);

    /// <summary>Keys of each head, then values of each head.</summary>
    private readonly int _planes = 2 * layout.KvHeads;

    public void Write(KvPool pool, int layer, ReadOnlySpan<int> pages, int position, ulong value)
    {
        var start = Start(pool, layer, pages, position);
        for (var plane = 0; plane < _planes; plane++)
        {
            *(ulong*)(start + Offset(plane)) = Hash.Mix(value + (ulong)plane);
        }
    }

    /// <summary>One head's key or value; which one depends on the position.</summary>
    public ulong Read(KvPool pool, int layer, ReadOnlySpan<int> pages, int position) =>
        Hash.Mix(*(ulong*)(Start(pool, layer, pages, position) + Offset(position % _planes)) + (uint)position);

    /// <summary>All heads' keys and values.</summary>
    public ulong ReadWhole(KvPool pool, int layer, ReadOnlySpan<int> pages, int position)
    {
        var start = Start(pool, layer, pages, position);
        var sum = (ulong)(uint)position;
        for (var plane = 0; plane < _planes; plane++)
        {
            sum += BitOperations.RotateLeft(*(ulong*)(start + Offset(plane)), plane);
        }

        return Hash.Mix(sum);
    }

    private byte* Start(KvPool pool, int layer, ReadOnlySpan<int> pages, int position) =>
        pool.PagePointer(layer, pages[position / layout.PageTokens]) + ((position % layout.PageTokens) * layout.HeadBytes);

    private int Offset(int plane) => plane * layout.PageTokens * layout.HeadBytes;
}

/// <summary>splitmix64's finalizer.</summary>
internal static class Hash
{
    public static ulong Mix(ulong value)
    {
        value += 0x9e3779b97f4a7c15UL;
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9UL;
        value = (value ^ (value >> 27)) * 0x94d049bb133111ebUL;
        return value ^ (value >> 31);
    }
}
