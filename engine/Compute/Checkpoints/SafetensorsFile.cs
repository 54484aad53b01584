using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text;
using System.Text.Json;

namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>A tensor as the header of a safetensors file declares it. <c>[Begin, End)</c> is relative to the data section.</summary>
internal sealed record TensorEntry(string Name, string Type, long[] Shape, long Begin, long End)
{
    public override string ToString() => $"{Type} [{string.Join(", ", Shape)}]";
}

/// <summary>
/// One memory-mapped safetensors file: 8 bytes of header length (little endian), a JSON header, then the data section
/// (https://github.com/huggingface/safetensors, "Format"). The header is checked as a whole on opening, so that no entry can
/// name bytes outside the file or bytes of another tensor.
/// </summary>
internal sealed unsafe class SafetensorsFile : IDisposable
{
    private const int LengthBytes = 8;
    private const long MaxHeaderBytes = 100_000_000;

    private static readonly Dictionary<string, int> TypeBytes = new(StringComparer.Ordinal)
    {
        ["BOOL"] = 1,
        ["U8"] = 1,
        ["I8"] = 1,
        ["F8_E4M3"] = 1,
        ["F8_E5M2"] = 1,
        ["F8_E8M0"] = 1,
        ["U16"] = 2,
        ["I16"] = 2,
        ["F16"] = 2,
        ["BF16"] = 2,
        ["U32"] = 4,
        ["I32"] = 4,
        ["F32"] = 4,
        ["U64"] = 8,
        ["I64"] = 8,
        ["F64"] = 8,
    };

    private readonly MemoryMappedFile _mapping;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _base;

    private SafetensorsFile(string path, MemoryMappedFile mapping, MemoryMappedViewAccessor view, FileInfo found)
    {
        Path = path;
        _mapping = mapping;
        _view = view;
        Length = found.Length;
        Changed = found.LastWriteTimeUtc;
        byte* pointer = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        _base = pointer + view.PointerOffset;
    }

    public string Path { get; }

    /// <summary>Bytes of the file.</summary>
    public long Length { get; }

    /// <summary>When the file, or what a link of that name leads to, was changed last.</summary>
    public DateTime Changed { get; }

    public IReadOnlyDictionary<string, TensorEntry> Tensors { get; private set; } = new Dictionary<string, TensorEntry>();

    /// <summary>Bytes of length field and header: where the data section begins.</summary>
    public long DataStart { get; private set; }

    /// <summary>Maps a file and checks its header.</summary>
    /// <exception cref="ModelLoadException">The file is missing, unreadable, truncated or its header is wrong.</exception>
    public static SafetensorsFile Open(string path)
    {
        var found = ModelFile.Find(path, "a safetensors file");
        if (found.Length < LengthBytes + 2)
        {
            throw new ModelLoadException(path, "file", "a header length and a JSON header", $"{found.Length} bytes");
        }

        SafetensorsFile file;
        try
        {
            var mapping = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
            file = new SafetensorsFile(path, mapping, mapping.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read), found);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ModelLoadException(path, "file", "a readable file", error.Message, error);
        }

        try
        {
            file.ReadHeader();
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The first byte of a tensor. Valid until the file is disposed.</summary>
    public byte* Data(TensorEntry entry) => _base + DataStart + entry.Begin;

    /// <summary>Bytes of the file; <c>[offset, offset + count)</c> must lie in it.</summary>
    public ReadOnlySpan<byte> Bytes(long offset, int count) => new(_base + offset, count);

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _mapping.Dispose();
    }

    private void ReadHeader()
    {
        ulong headerBytes = BinaryPrimitives.ReadUInt64LittleEndian(Bytes(0, LengthBytes));
        long available = Length - LengthBytes;
        if (headerBytes > (ulong)Math.Min(available, MaxHeaderBytes))
        {
            throw new ModelLoadException(Path, "header length", $"at most {Math.Min(available, MaxHeaderBytes)} bytes (the file has {Length})", $"{headerBytes}");
        }

        DataStart = LengthBytes + (long)headerBytes;
        var header = Bytes(LengthBytes, (int)headerBytes);
        try
        {
            // Checked first: the JSON reader would otherwise report invalid UTF-8 only where a string is read.
            _ = new UTF8Encoding(false, throwOnInvalidBytes: true).GetCharCount(header);
            using var document = JsonDocument.Parse(header.ToArray());
            Tensors = ReadEntries(document.RootElement);
        }
        catch (Exception error) when (error is JsonException or DecoderFallbackException or InvalidOperationException)
        {
            // InvalidOperationException is how the reader reports a string with half a surrogate pair.
            throw new ModelLoadException(Path, "header", "a JSON object", error.Message, error);
        }

        CheckRanges();
    }

    private Dictionary<string, TensorEntry> ReadEntries(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw new ModelLoadException(Path, "header", "a JSON object", $"{root.ValueKind}");
        }

        var entries = new Dictionary<string, TensorEntry>(StringComparer.Ordinal);
        foreach (var property in root.EnumerateObject())
        {
            if (property.Name != "__metadata__" && !entries.TryAdd(property.Name, ReadEntry(property.Name, property.Value)))
            {
                throw new ModelLoadException(Path, $"tensor '{property.Name}'", "one entry", "two entries");
            }
        }

        return entries;
    }

    private TensorEntry ReadEntry(string name, JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object
            || !value.TryGetProperty("dtype", out var type) || type.ValueKind != JsonValueKind.String
            || !value.TryGetProperty("shape", out var shape) || !TryReadSizes(shape, out var sizes)
            || !value.TryGetProperty("data_offsets", out var offsets) || !TryReadSizes(offsets, out var range) || range.Length != 2)
        {
            throw new ModelLoadException(Path, $"tensor '{name}'", "dtype, shape and two data_offsets", Excerpt(value));
        }

        var entry = new TensorEntry(name, type.GetString()!, sizes, range[0], range[1]);
        if (!TypeBytes.TryGetValue(entry.Type, out int elementBytes))
        {
            throw new ModelLoadException(Path, $"dtype of tensor '{name}'", $"one of {string.Join(", ", TypeBytes.Keys)}", entry.Type);
        }

        long bytes = elementBytes;
        foreach (long size in sizes)
        {
            // No tensor is larger than the file, so this bound also keeps the product from overflowing.
            if (size != 0 && bytes > Length / size)
            {
                throw new ModelLoadException(Path, $"shape of tensor '{name}'", $"at most the file's {Length} bytes", $"{entry}");
            }

            bytes *= size;
        }

        if (entry.End < entry.Begin || entry.End - entry.Begin != bytes)
        {
            throw new ModelLoadException(Path, $"data_offsets of tensor '{name}'", $"{bytes} bytes for {entry}", $"[{entry.Begin}, {entry.End}]");
        }

        return entry;
    }

    private void CheckRanges()
    {
        long dataBytes = Length - DataStart;
        long end = 0;
        string previous = "";
        foreach (var entry in Tensors.Values.OrderBy(entry => entry.Begin).ThenBy(entry => entry.End))
        {
            if (entry.End > dataBytes)
            {
                throw new ModelLoadException(
                    Path, $"tensor '{entry.Name}'", $"{DataStart + entry.End} bytes in the file", $"{Length}: the file is truncated");
            }

            if (entry.Begin < end)
            {
                throw new ModelLoadException(
                    Path, $"tensor '{entry.Name}'", $"data from byte {end}, where tensor '{previous}' ends", $"data from byte {entry.Begin}: they overlap");
            }

            (end, previous) = (entry.End, entry.Name);
        }
    }

    private static bool TryReadSizes(JsonElement element, out long[] sizes)
    {
        sizes = [];
        if (element.ValueKind != JsonValueKind.Array || element.GetArrayLength() > 8)
        {
            return false;
        }

        sizes = new long[element.GetArrayLength()];
        for (int i = 0; i < sizes.Length; i++)
        {
            if (element[i].ValueKind != JsonValueKind.Number || !element[i].TryGetInt64(out sizes[i]) || sizes[i] < 0)
            {
                return false;
            }
        }

        return true;
    }

    private static string Excerpt(JsonElement value)
    {
        string text = value.GetRawText();
        return text.Length <= 120 ? text : text[..120] + "...";
    }
}
