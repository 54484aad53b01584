using System.Globalization;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;
using ScriptedServe.KvTransport.Memory;

namespace ScriptedServe.KvTransport;

/// <summary>
/// A KV pool that other processes of the same user on the same machine can map and write: an anonymous file (memfd) of one header page, the grant
/// table, and the pages <c>[shard][layer][page]</c>. It is not limited by /dev/shm, has no name to clean up, and its memory is committed as it is touched and freed when
/// the last process that maps it is gone. Disposing unmaps; whoever uses pointers into the pool must have stopped.
/// </summary>
public sealed unsafe class SharedKvPool : KvPool
{
    /// <summary>Enough for a grant for each of a thousand waiting requests; 64 bytes each.</summary>
    public const int DefaultGrantSlots = 1024;

    private readonly SafeFileHandle? _file;
    private readonly PoolHeader _header;
    private readonly byte* _pages;
    private readonly KvPool[] _shards;
    private byte* _base;

    private SharedKvPool(KvLayout layout, in PoolHeader header, byte* memory, SafeFileHandle? file)
        : base(layout, header.Pages)
    {
        _header = header;
        _file = file;
        _base = memory;
        _pages = memory + header.PoolOffset;
        _shards = header.Shards == 1 ? [this] : [.. Enumerable.Range(0, header.Shards).Select(shard => new PoolShard(this, shard))];
        Grants = new GrantTable(memory + PoolHeader.TableOffset, header.GrantSlots, header.SessionCells);
    }

    /// <summary>Differs for each start of the engine that created the pool.</summary>
    public ulong Epoch => _header.Epoch;

    /// <summary>Bytes of the whole mapping; what is committed of it is at most this.</summary>
    public long MappedBytes => _header.TotalBytes;

    public override int Shards => _shards.Length;

    internal Guid Nonce => _header.Nonce;

    internal GrantTable Grants { get; }

    /// <summary>Where another process finds this pool's memory. Only the creator's own pool has one.</summary>
    internal string Path => string.Create(CultureInfo.InvariantCulture, $"/proc/{Environment.ProcessId}/fd/{File.DangerousGetHandle()}");

    private SafeFileHandle File => _file ?? throw new InvalidOperationException("An attached pool has no path of its own.");

    /// <summary>A new pool of zeros.</summary>
    /// <param name="pages">Pages a layer, at least 1.</param>
    /// <param name="epoch">The engine's epoch, which its addresses carry.</param>
    /// <param name="grantSlots">Grants that may be open at a time, and sending sessions at a time; up to 1,000,000.</param>
    /// <param name="shards">See <see cref="KvPool.Shards"/>.</param>
    /// <exception cref="ArgumentException">A number is out of range, or the heads cannot be divided among the shards.</exception>
    /// <exception cref="IOException">The kernel refuses the file or the mapping.</exception>
    public static SharedKvPool Create(KvLayout layout, int pages, ulong epoch, int grantSlots = DefaultGrantSlots, int shards = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pages, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(grantSlots, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(grantSlots, 1_000_000);
        // A name for a pool, not a source of decisions: true randomness is what makes it unique between processes.
        var header = PoolHeader.Of(layout, pages, epoch, new Guid(RandomNumberGenerator.GetBytes(16)), grantSlots, grantSlots, shards);
        var file = LibC.CreateAnonymousFile("scriptedserve-kv", header.TotalBytes);
        try
        {
            var memory = LibC.Map(file, header.TotalBytes);
            *(PoolHeader*)memory = header;
            return new SharedKvPool(layout, header, memory, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Maps another process's pool. Nothing of it is used before its header was found to be the one expected.</summary>
    /// <exception cref="IOException">No such file (another machine, process gone, another user) or it cannot be mapped.</exception>
    /// <exception cref="KvTransportException"><see cref="KvFault.WrongEpoch"/> or <see cref="KvFault.WrongLayout"/>: the file is something else.</exception>
    internal static SharedKvPool Attach(string path, KvLayout layout, ulong epoch, Guid nonce)
    {
        // The file stays open through the mapping; the descriptor is not needed after it.
        using var file = LibC.OpenReadWrite(path);
        var length = LibC.Length(file);
        if (length < PoolHeader.TableOffset || (LibC.Seals(file) & LibC.SealedSize) != LibC.SealedSize)
        {
            throw new KvTransportException(KvFault.WrongEpoch, $"{path} is not a KV pool: {length} bytes, or its size is not sealed.");
        }

        var header = ReadHeader(file);
        if (header.Magic != PoolHeader.ExpectedMagic || header.Version != PoolHeader.ExpectedVersion)
        {
            throw new KvTransportException(KvFault.WrongEpoch, $"{path} is not a KV pool of version {PoolHeader.ExpectedVersion}.");
        }

        if (header.Epoch != epoch || header.Nonce != nonce)
        {
            throw new KvTransportException(KvFault.WrongEpoch, $"{path} is another pool (epoch {header.Epoch}, expected {epoch}): another process or machine has that id.");
        }

        if (header.Pages < 1 || header.GrantSlots is < 1 or > 1_000_000 || header.SessionCells is < 1 or > 1_000_000 || header.Shards < 1 || layout.KvHeads % header.Shards != 0)
        {
            throw new KvTransportException(
                KvFault.WrongLayout, $"{path} says {header.Pages} pages in {header.Shards} shards of {layout.KvHeads} heads, {header.GrantSlots} slots, {header.SessionCells} cells.");
        }

        var expected = PoolHeader.Of(layout, header.Pages, epoch, nonce, header.GrantSlots, header.SessionCells, header.Shards);
        if (header.Fingerprint != expected.Fingerprint || header.PageStride != expected.PageStride || header.ShardStride != expected.ShardStride || header.PoolOffset != expected.PoolOffset
            || header.TotalBytes != expected.TotalBytes || length != expected.TotalBytes)
        {
            throw new KvTransportException(KvFault.WrongLayout, $"{path} holds KV of layout {header.Fingerprint:x32} in {length} bytes; this engine's is {layout.Fingerprint}, {expected.TotalBytes} bytes.");
        }

        return new SharedKvPool(layout, header, LibC.Map(file, header.TotalBytes), null);
    }

    public override KvPool Shard(int shard) => _shards[shard];

    public override byte* PagePointer(int layer, int page) => _shards.Length == 1
        ? PagePointer(0, layer, page)
        : throw new InvalidOperationException($"The pool has {_shards.Length} shards, so that a page is in as many places.");

    protected override void Dispose(bool disposing)
    {
        if (_base is not null)
        {
            LibC.Unmap(_base, _header.TotalBytes);
            _base = null;
            _file?.Dispose();
        }
    }

    private byte* PagePointer(int shard, int layer, int page) =>
        _pages + (shard * _header.ShardStride) + ((((long)layer * Pages) + page) * _header.PageStride);

    private static PoolHeader ReadHeader(SafeFileHandle file)
    {
        PoolHeader header;
        var read = RandomAccess.Read(file, new Span<byte>(&header, sizeof(PoolHeader)), 0);
        return read == sizeof(PoolHeader) ? header : throw new IOException($"read {read} bytes of a pool header of {sizeof(PoolHeader)}");
    }

    /// <summary>The pages of one shard, which belong to the whole.</summary>
    private sealed class PoolShard(SharedKvPool whole, int shard) : KvPool(whole.Layout.Shard(whole._header.Shards), whole.Pages)
    {
        public override byte* PagePointer(int layer, int page) => whole.PagePointer(shard, layer, page);

        protected override void Dispose(bool disposing)
        {
            // Its memory goes with the whole.
        }
    }
}
