using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Caching;

/// <summary>
/// A file of packed weights: a header of one page, the weights, 64 spare bytes. The header, written last, names version, key and length, and has a hash
/// of the weights and one of itself. Of more than 64 MiB the hash takes evenly spaced blocks only: it is there to tell files that were cut, mixed up or
/// half written from whole ones without reading them all, and a start would otherwise read every byte of the model. Bits that a disk loses are as little
/// noticed as in the model's own files.
/// </summary>
internal static unsafe class WeightFile
{
    private const int HeaderBytes = 4096;
    private const int VersionOffset = 8;
    private const int KeyOffset = 16;
    private const int LengthOffset = 48;
    private const int HashOffset = 56;
    private const int HeaderHashOffset = 88;

    /// <summary>Counts changes of how panels are laid out or weights are rounded.</summary>
    private const int Version = 2;

    private const long WholeBytes = 64L << 20;
    private const int BlockBytes = 4096;
    private const int Blocks = 512;

    private static ReadOnlySpan<byte> Magic => "SSWEIGHT"u8;

    /// <summary>Bytes of a file with this many of weights.</summary>
    public static long FileBytes(long bytes) => HeaderBytes + bytes + WeightMemory.SpareBytes;

    /// <summary>Maps a file for reading; null if there is none.</summary>
    /// <exception cref="InvalidDataException">It is not a whole file of these weights, or others may write it; the message says why.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static WeightMemory? Open(string path, ReadOnlySpan<byte> key, long bytes)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(path) & (UnixFileMode.GroupWrite | UnixFileMode.OtherWrite)) != 0)
        {
            throw new InvalidDataException("other users may write it");
        }

        long length = new FileInfo(path).Length;
        if (length != FileBytes(bytes))
        {
            throw new InvalidDataException($"it has {length} bytes, not {FileBytes(bytes)}");
        }

        var mapping = Mapping.Open(path);
        try
        {
            var header = new ReadOnlySpan<byte>(mapping.Pointer, HeaderBytes);
            Require(header.StartsWith(Magic) && BinaryPrimitives.ReadInt32LittleEndian(header[VersionOffset..]) == Version, "it is of another kind or version");
            Require(header[HeaderHashOffset..(HeaderHashOffset + SHA256.HashSizeInBytes)].SequenceEqual(SHA256.HashData(header[..HeaderHashOffset])), "its header is damaged");
            Require(header[KeyOffset..LengthOffset].SequenceEqual(key) && BinaryPrimitives.ReadInt64LittleEndian(header[LengthOffset..]) == bytes, "it has other weights");
            Require(header[HashOffset..HeaderHashOffset].SequenceEqual(Hash(mapping.Pointer + HeaderBytes, bytes)), "its weights are damaged");
            return new WeightMemory(mapping.Pointer + HeaderBytes, mapping, shared: true);
        }
        catch
        {
            mapping.Dispose();
            throw;
        }
    }

    /// <summary>Writes the header of a file whose weights are all written, and everything to the disk.</summary>
    public static void Finish(SafeFileHandle file, string path, ReadOnlySpan<byte> key, long bytes)
    {
        RandomAccess.SetLength(file, FileBytes(bytes));
        var header = new byte[HeaderBytes];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(VersionOffset), Version);
        key.CopyTo(header.AsSpan(KeyOffset));
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(LengthOffset), bytes);
        using (var mapping = Mapping.Open(path))
        {
            Hash(mapping.Pointer + HeaderBytes, bytes).CopyTo(header, HashOffset);
        }

        SHA256.HashData(header.AsSpan(0, HeaderHashOffset)).CopyTo(header, HeaderHashOffset);
        RandomAccess.Write(file, header, 0);
        RandomAccess.FlushToDisk(file);
    }

    private static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new InvalidDataException(otherwise);
        }
    }

    private static byte[] Hash(byte* data, long bytes)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        if (bytes <= WholeBytes)
        {
            hash.AppendData(new ReadOnlySpan<byte>(data, (int)bytes));
        }
        else
        {
            long stride = (bytes - BlockBytes) / (Blocks - 1);
            for (int block = 0; block < Blocks; block++)
            {
                hash.AppendData(new ReadOnlySpan<byte>(data + block * stride, BlockBytes));
            }
        }

        return hash.GetHashAndReset();
    }

    /// <summary>Takes weights into a file behind the place of its header, by way of a buffer for each worker.</summary>
    public sealed class Target(SafeFileHandle file, int workers) : IWeightTarget, IDisposable
    {
        private readonly NativeBuffer?[] _buffers = new NativeBuffer?[workers];

        public byte* Begin(long offset, int bytes, int worker)
        {
            ref var buffer = ref _buffers[worker];
            if (buffer is null || buffer.Bytes < bytes)
            {
                buffer?.Dispose();
                buffer = new NativeBuffer(bytes);
            }

            new Span<byte>(buffer.Pointer, bytes).Clear();
            return buffer.Pointer;
        }

        public void End(long offset, int bytes, int worker) =>
            RandomAccess.Write(file, new ReadOnlySpan<byte>(_buffers[worker]!.Pointer, bytes), HeaderBytes + offset);

        public void Dispose()
        {
            foreach (var buffer in _buffers)
            {
                buffer?.Dispose();
            }
        }
    }

    /// <summary>A whole file, mapped for reading. It stays as it is while mapped: files are replaced and removed by name, never written again.</summary>
    private sealed class Mapping : IDisposable
    {
        private readonly MemoryMappedFile _file;
        private readonly MemoryMappedViewAccessor _view;

        private Mapping(MemoryMappedFile file)
        {
            _file = file;
            _view = file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            byte* pointer = null;
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
            Pointer = pointer + _view.PointerOffset;
        }

        public byte* Pointer { get; }

        public static Mapping Open(string path)
        {
            // Whoever writes it may have it open, too.
            var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            return new Mapping(MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false));
        }

        public void Dispose()
        {
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _file.Dispose();
        }
    }
}
