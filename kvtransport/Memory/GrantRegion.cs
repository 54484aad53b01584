using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace ScriptedServe.KvTransport.Memory;

/// <summary>
/// The grant table of a pool on a device, in memory of the host that senders of this machine map: an anonymous file of one header page and the table. The header counts who has the pool's memory open, since that
/// must not be freed before it is closed. Who opens (1) counts itself, (2) then looks whether the region is closed; the owner (1) closes it, (2) then looks at the count: so at least one sees the other.
/// </summary>
internal sealed unsafe class GrantRegion : IDisposable
{
    /// <summary>"SSGRANTS", little-endian.</summary>
    private const ulong ExpectedMagic = 0x53544e4152475353;
    private const uint ExpectedVersion = 1;

    private readonly SafeFileHandle? _file;
    private readonly long _bytes;
    private byte* _memory;

    private GrantRegion(SafeFileHandle? file, byte* memory, long bytes)
    {
        _file = file;
        _memory = memory;
        _bytes = bytes;
        Grants = new GrantTable(memory + PoolHeader.TableOffset, Header.Slots, Header.Slots);
    }

    public GrantTable Grants { get; }

    public Guid Nonce => Header.Nonce;

    /// <summary>Pages a layer of the pool.</summary>
    public int Pages => Header.Pages;

    /// <summary>Processes that have the pool's memory open, those included that ended without closing it.</summary>
    public long Openings => Interlocked.Read(ref Header.Openings);

    /// <summary>Where another process finds it. Only the creator's own has one.</summary>
    public string Path => string.Create(CultureInfo.InvariantCulture, $"/proc/{Environment.ProcessId}/fd/{_file!.DangerousGetHandle()}");

    private ref RegionHeader Header => ref *(RegionHeader*)_memory;

    /// <exception cref="IOException">The kernel refuses the file or the mapping.</exception>
    public static GrantRegion Create(KvLayout layout, int pages, ulong epoch, int slots)
    {
        var bytes = BytesFor(slots);
        var file = LibC.CreateAnonymousFile("scriptedserve-grants", bytes);
        try
        {
            var memory = LibC.Map(file, bytes);
            *(RegionHeader*)memory = new RegionHeader
            {
                Magic = ExpectedMagic,
                Version = ExpectedVersion,
                Pages = pages,
                Epoch = epoch,
                Nonce = new Guid(RandomNumberGenerator.GetBytes(16)),
                Fingerprint = FingerprintOf(layout),
                Slots = slots,
            };
            return new GrantRegion(file, memory, bytes);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Maps another process's region, and counts this process among those that open the pool: dispose of it when that is closed.</summary>
    /// <exception cref="IOException">No such file (another machine, process gone, another user) or it cannot be mapped.</exception>
    /// <exception cref="KvTransportException"><see cref="KvFault.Unreachable"/>: it is something else, or its owner is ending.</exception>
    public static GrantRegion Attach(string path, KvLayout layout, ulong epoch, Guid nonce)
    {
        using var file = LibC.OpenReadWrite(path);
        var length = LibC.Length(file);
        RegionHeader header;
        if (length < PoolHeader.TableOffset || (LibC.Seals(file) & LibC.SealedSize) != LibC.SealedSize
            || RandomAccess.Read(file, new Span<byte>(&header, sizeof(RegionHeader)), 0) != sizeof(RegionHeader)
            || header.Magic != ExpectedMagic || header.Version != ExpectedVersion || header.Epoch != epoch || header.Nonce != nonce || header.Fingerprint != FingerprintOf(layout)
            || header.Pages < 1 || header.Slots is < 1 or > 1_000_000 || length != BytesFor(header.Slots))
        {
            throw new KvTransportException(KvFault.Unreachable, $"{path} is not the grant table that the address means: another process or machine has that id.");
        }

        var region = new GrantRegion(null, LibC.Map(file, length), length);
        Interlocked.Increment(ref region.Header.Openings);
        if (Volatile.Read(ref region.Header.IsClosed) == 0)
        {
            return region;
        }

        region.Dispose();
        throw new KvTransportException(KvFault.Unreachable, "the receiver is ending");
    }

    /// <summary>Nobody opens the pool from now on.</summary>
    public void Close() => Interlocked.Exchange(ref Header.IsClosed, 1);

    public void Dispose()
    {
        if (_memory is null)
        {
            return;
        }

        if (_file is null)
        {
            Interlocked.Decrement(ref Header.Openings);
        }

        LibC.Unmap(_memory, _bytes);
        _memory = null;
        _file?.Dispose();
    }

    private static long BytesFor(int slots) => PoolHeader.TableOffset + GrantTable.BytesFor(slots, slots);

    private static UInt128 FingerprintOf(KvLayout layout) => UInt128.Parse(layout.Fingerprint, NumberStyles.HexNumber, null);

    [StructLayout(LayoutKind.Sequential, Pack = 8)]
    private struct RegionHeader
    {
        public ulong Magic;
        public uint Version;
        public int Pages;
        public ulong Epoch;
        public Guid Nonce;
        public UInt128 Fingerprint;

        public long Openings;
        public int IsClosed;

        /// <summary>Of grants, and as many cells.</summary>
        public int Slots;
    }
}
