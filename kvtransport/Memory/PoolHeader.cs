using System.Runtime.InteropServices;

namespace ScriptedServe.KvTransport.Memory;

/// <summary>The first bytes of a shared pool's file. Everything a process that attaches must know, and nothing it may trust unchecked.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 8)]
internal struct PoolHeader
{
    /// <summary>"SSKVPOOL", little-endian.</summary>
    public const ulong ExpectedMagic = 0x4c4f4f50564b5353;

    public const uint ExpectedVersion = 3;

    /// <summary>Where the grant table begins; the header has this page to itself.</summary>
    public const int TableOffset = 4096;

    /// <summary>Pools begin at a multiple of a huge page.</summary>
    private const long PoolAlignment = 2 << 20;

    public ulong Magic;
    public uint Version;
    public int Pages;
    public ulong Epoch;

    /// <summary>Random for each pool: another pool that a path happens to lead to is told apart.</summary>
    public Guid Nonce;
    public UInt128 Fingerprint;
    public int GrantSlots;
    public int SessionCells;

    /// <summary>Parts by heads; each has all layers and pages, <see cref="ShardStride"/> after the one before.</summary>
    public int Shards;
    public long PageStride;
    public long ShardStride;
    public long PoolOffset;
    public long TotalBytes;

    /// <summary>The header of a pool of this shape; whoever attaches computes the same and compares.</summary>
    public static PoolHeader Of(KvLayout layout, int pages, ulong epoch, Guid nonce, int grantSlots, int sessionCells, int shards)
    {
        var tableEnd = TableOffset + GrantTable.BytesFor(grantSlots, sessionCells);
        var poolOffset = RoundUp(tableEnd, PoolAlignment);
        var stride = RoundUp(layout.Shard(shards).PageBytes, 64);

        // A rank's memory is near its processors if it touches it first: no page of memory belongs to two.
        var shardStride = RoundUp(checked(stride * pages * layout.Layers), Environment.SystemPageSize);
        return new PoolHeader
        {
            Magic = ExpectedMagic,
            Version = ExpectedVersion,
            Pages = pages,
            Epoch = epoch,
            Nonce = nonce,
            Fingerprint = UInt128.Parse(layout.Fingerprint, System.Globalization.NumberStyles.HexNumber, null),
            GrantSlots = grantSlots,
            SessionCells = sessionCells,
            Shards = shards,
            PageStride = stride,
            ShardStride = shardStride,
            PoolOffset = poolOffset,
            TotalBytes = checked(poolOffset + (shardStride * shards)),
        };
    }

    private static long RoundUp(long value, long multiple) => (value + multiple - 1) / multiple * multiple;
}
