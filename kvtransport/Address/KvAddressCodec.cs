using System.Security.Cryptography;
using ScriptedServe.KvTransport.MessagePack;

namespace ScriptedServe.KvTransport.Address;

/// <summary>
/// KV addresses as bytes: a MessagePack array, then 32 bytes of HMAC-SHA256 over it under a key derived from the cluster secret. Nothing is parsed
/// before the code was found right, so what is parsed was written by an engine of this cluster; it is checked all the same.
/// </summary>
internal sealed class KvAddressCodec
{
    /// <summary>A context of a million tokens in scattered pages of 16 fits well.</summary>
    public const int MaxBytes = 512 << 10;

    /// <summary>Bounds what the runs of pages of an address may expand to.</summary>
    public const int MaxTokens = 1 << 24;

    public const int MinSecretBytes = 16;
    private const int Version = 1;
    private const int Fields = 11;
    private const int MaxTextBytes = 1024;
    private readonly byte[] _key;

    /// <param name="clusterSecret">The same on all engines of a cluster.</param>
    /// <exception cref="ArgumentException">It is too short to be a secret.</exception>
    public KvAddressCodec(ReadOnlySpan<byte> clusterSecret)
    {
        if (clusterSecret.Length < MinSecretBytes)
        {
            throw new ArgumentException($"The cluster secret has {clusterSecret.Length} bytes; at least {MinSecretBytes} are needed.", nameof(clusterSecret));
        }

        // The secret may serve other purposes too; a code made for those must not pass here.
        _key = HMACSHA256.HashData(clusterSecret, "ScriptedServe KV address"u8);
    }

    /// <exception cref="ArgumentException">A name is too long for the limits of an address.</exception>
    /// <exception cref="KvTransportException"><see cref="KvFault.Scattered"/>: the pages are.</exception>
    public byte[] Encode(KvAddress address)
    {
        var writer = new MessagePackWriter();
        writer.WriteArrayHeader(Fields);
        writer.Write(Version);
        writer.Write(Text(address.EngineId, "engine id"));
        writer.Write(address.Epoch);
        writer.Write(Text(address.ReservationId, "reservation id"));
        writer.Write(address.Slot);
        writer.Write(address.Generation);
        writer.WriteBinary(Convert.FromHexString(address.Fingerprint));
        writer.Write(address.Begin);
        writer.Write(address.End);
        WritePages(writer, address.Pages);
        WriteRoutes(writer, address);
        var length = writer.Written.Length;
        if (length + HMACSHA256.HashSizeInBytes > MaxBytes)
        {
            throw new KvTransportException(KvFault.Scattered,
                $"The KV address of {address.ReservationId} would take {length + HMACSHA256.HashSizeInBytes} bytes; the limit is {MaxBytes}. Its {address.Pages.Length} pages are too scattered: ask for fewer tokens, or use larger pages.");
        }

        var bytes = new byte[length + HMACSHA256.HashSizeInBytes];
        writer.Written.CopyTo(bytes);
        HMACSHA256.HashData(_key, bytes.AsSpan(0, length), bytes.AsSpan(length));
        return bytes;
    }

    /// <exception cref="KvAddressException">Malformed, Forged or UnsupportedVersion.</exception>
    public KvAddress Decode(ReadOnlySpan<byte> bytes)
    {
        const int mac = HMACSHA256.HashSizeInBytes;
        if (bytes.Length is <= mac or > MaxBytes)
        {
            throw new KvAddressException(KvFault.Malformed, $"A KV address of {bytes.Length} bytes; it has between {mac + 1} and {MaxBytes}.");
        }

        Span<byte> expected = stackalloc byte[mac];
        HMACSHA256.HashData(_key, bytes[..^mac], expected);
        if (!CryptographicOperations.FixedTimeEquals(expected, bytes[^mac..]))
        {
            throw new KvAddressException(KvFault.Forged, "The KV address is not authentic: it was changed, or comes from an engine with another cluster secret.");
        }

        try
        {
            return Parse(bytes[..^mac]);
        }
        catch (MessagePackException fault)
        {
            throw new KvAddressException(KvFault.Malformed, $"The KV address is damaged. {fault.Message}");
        }
    }

    private static KvAddress Parse(ReadOnlySpan<byte> body)
    {
        var reader = new MessagePackReader(body);
        var fields = reader.ReadArrayHeader();
        var version = reader.ReadInt64();
        if (version != Version)
        {
            throw new KvAddressException(KvFault.UnsupportedVersion, $"A KV address of version {version}; this build speaks {Version}.");
        }

        Require(fields == Fields, $"{fields} fields, not {Fields}");
        var engine = reader.ReadString();
        var epoch = reader.ReadUInt64();
        var reservation = reader.ReadString();
        var slot = reader.ReadInt32();
        var generation = reader.ReadUInt64();
        var fingerprint = Convert.ToHexStringLower(reader.ReadBinary());
        var begin = reader.ReadInt32();
        var end = reader.ReadInt32();
        Require(slot >= 0, $"slot {slot}");
        Require(fingerprint.Length == 32, $"a layout fingerprint of {fingerprint.Length} digits");
        Require(begin >= 0 && end >= begin && end - begin <= MaxTokens, $"tokens [{begin}, {end}), the limit is {MaxTokens}");
        var pages = ReadPages(ref reader, limit: end - begin);
        var (shm, tcp, device) = ReadRoutes(ref reader);
        Require(reader.AtEnd, $"{body.Length - reader.Consumed} bytes too many");
        return new KvAddress(engine, epoch, reservation, slot, generation, fingerprint, begin, end, pages, shm, tcp, device);
    }

    /// <summary>Runs of consecutive pages, as [first, count, first, count ...].</summary>
    private static void WritePages(MessagePackWriter writer, int[] pages)
    {
        var runs = new List<(int First, int Count)>();
        foreach (var page in pages)
        {
            if (runs.Count > 0 && runs[^1] is var last && last.First + last.Count == page)
            {
                runs[^1] = (last.First, last.Count + 1);
            }
            else
            {
                runs.Add((page, 1));
            }
        }

        writer.WriteArrayHeader(2 * runs.Count);
        foreach (var (first, count) in runs)
        {
            writer.Write(first);
            writer.Write(count);
        }
    }

    /// <param name="limit">A page holds at least one token of the range.</param>
    private static int[] ReadPages(ref MessagePackReader reader, int limit)
    {
        var numbers = reader.ReadArrayHeader();
        Require(numbers % 2 == 0, "half a run of pages");
        var pages = new List<int>();
        for (var run = 0; run < numbers / 2; run++)
        {
            var (first, count) = (reader.ReadInt32(), reader.ReadInt32());
            Require(first >= 0 && count >= 1 && first <= int.MaxValue - count && count <= limit - pages.Count, $"a run of {count} pages from {first} on");
            for (var page = first; page < first + count; page++)
            {
                pages.Add(page);
            }
        }

        return [.. pages];
    }

    /// <summary>A map, so that an engine passes over transports it does not know.</summary>
    private static void WriteRoutes(MessagePackWriter writer, KvAddress address)
    {
        writer.WriteMapHeader((address.Device is null ? 0 : 1) + (address.Shm is null ? 0 : 1) + (address.Tcp is null ? 0 : 1));
        if (address.Device is { } device)
        {
            writer.Write("ipc");
            writer.WriteArrayHeader(6);
            writer.Write(Text(device.TablePath, "grant table path"));
            writer.WriteBinary(device.Nonce.ToByteArray());
            writer.Write(Text(device.ControlPath, "unix socket path"));
            writer.WriteBinary(device.Export.Device.ToByteArray());
            writer.WriteBinary(device.Export.Handle.Span);
            writer.Write(device.Export.Offset);
        }

        if (address.Shm is { } shm)
        {
            writer.Write("shm");
            writer.WriteArrayHeader(3);
            writer.Write(Text(shm.Path, "pool path"));
            writer.WriteBinary(shm.Nonce.ToByteArray());
            writer.Write(Text(shm.ControlPath, "unix socket path"));
        }

        if (address.Tcp is { } tcp)
        {
            writer.Write("tcp");
            writer.WriteArrayHeader(2);
            writer.Write(Text(tcp.Host, "advertised host"));
            writer.Write(tcp.Port);
        }
    }

    private static (ShmRoute? Shm, TcpRoute? Tcp, DeviceRoute? Device) ReadRoutes(ref MessagePackReader reader)
    {
        DeviceRoute? device = null;
        ShmRoute? shm = null;
        TcpRoute? tcp = null;
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            switch (reader.ReadString())
            {
                case "ipc":
                    Require(reader.ReadArrayHeader() == 6, "an ipc route of another shape");
                    var (table, tableNonce, control) = (reader.ReadString(), ReadGuid(ref reader), reader.ReadString());
                    var (id, handle, offset) = (ReadGuid(ref reader), reader.ReadBinary().ToArray(), reader.ReadInt64());
                    Require(handle.Length is > 0 and <= MaxTextBytes && offset >= 0, $"a handle of {handle.Length} bytes, offset {offset}");
                    device = new DeviceRoute(table, tableNonce, control, new DeviceExport(id, handle, offset));
                    break;
                case "shm":
                    Require(reader.ReadArrayHeader() == 3, "a shm route of another shape");
                    shm = new ShmRoute(reader.ReadString(), ReadGuid(ref reader), reader.ReadString());
                    break;
                case "tcp":
                    Require(reader.ReadArrayHeader() == 2, "a tcp route of another shape");
                    tcp = new TcpRoute(reader.ReadString(), reader.ReadInt32());
                    Require(tcp.Port is > 0 and <= 65535, $"port {tcp.Port}");
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return (shm, tcp, device);
    }

    private static Guid ReadGuid(ref MessagePackReader reader)
    {
        var bytes = reader.ReadBinary();
        Require(bytes.Length == 16, $"an id of {bytes.Length} bytes");
        return new Guid(bytes);
    }

    private static string Text(string value, string what) => System.Text.Encoding.UTF8.GetByteCount(value) <= MaxTextBytes
        ? value
        : throw new ArgumentException($"The {what} takes more than {MaxTextBytes} bytes.", nameof(value));

    private static void Require(bool holds, string found)
    {
        if (!holds)
        {
            throw new KvAddressException(KvFault.Malformed, $"The KV address is damaged: {found}.");
        }
    }
}
