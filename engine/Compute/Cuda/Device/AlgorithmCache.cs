using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>
/// The algorithms of cuBLASLt that were fastest, kept on the disk: a file for each device, driver and version of the library, which alone understands them. A file that is damaged is
/// as good as none, and one that cannot be written costs the time of finding them again.
/// </summary>
/// <param name="machine">Device, driver and library: whatever may change which algorithm is fastest, or what its bytes mean.</param>
internal sealed class AlgorithmCache(string folder, string machine)
{
    private const string Magic = "ScriptedServe products 1";

    private readonly string _path = Path.Combine(folder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(machine)).AsSpan(0, 16)) + ".products");
    private SortedDictionary<string, MatmulAlgorithm>? _known;
    private bool _changed;

    private SortedDictionary<string, MatmulAlgorithm> Known => _known ??= Read();

    /// <summary>scriptedserve/products in the user's cache folder.</summary>
    public static string DefaultFolder(Func<string, string?> environment) =>
        Path.Combine(Path.GetDirectoryName(Compilation.KernelCache.DefaultFolder(environment))!, "products");

    public MatmulAlgorithm? Find(ProductShape shape, int rows) => Known.TryGetValue(Key(shape, rows), out var found) ? found : null;

    /// <summary>Those of so many rows and of more, the fewest first.</summary>
    public IEnumerable<MatmulAlgorithm> From(ProductShape shape, int rows)
    {
        // Rows have ten digits, so that keys of one shape are in their order.
        string prefix = Prefix(shape), first = Key(shape, rows);
        return Known.Where(entry => entry.Key.StartsWith(prefix, StringComparison.Ordinal) && string.CompareOrdinal(entry.Key, first) >= 0).Select(entry => entry.Value);
    }

    public void Add(ProductShape shape, int rows, MatmulAlgorithm algorithm)
    {
        Known[Key(shape, rows)] = algorithm;
        _changed = true;
    }

    /// <summary>Writes the file, if anything was added.</summary>
    public void Save()
    {
        if (!_changed)
        {
            return;
        }

        _changed = false;
        var lines = new StringBuilder().Append(Magic).Append('\n').Append(machine.ReplaceLineEndings(" ")).Append('\n');
        foreach (var (key, algorithm) in Known)
        {
            lines.Append(key).Append(' ').Append(Convert.ToHexStringLower(MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(in algorithm, 1)))).Append('\n');
        }

        string text = lines.ToString(), draft = $"{_path}.{Path.GetRandomFileName()}";
        try
        {
            _ = OperatingSystem.IsWindows()
                ? Directory.CreateDirectory(folder)
                : Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            File.WriteAllText(draft, $"{text}{Hash(text)}\n");
            File.Move(draft, _path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The next start finds them again.
        }
    }

    private static string Prefix(ProductShape shape) =>
        string.Create(CultureInfo.InvariantCulture, $"{shape.Outputs}x{shape.Inputs}-{shape.Compute}-{(shape.Floats ? "f32" : "same")}-{(shape.Bias ? "bias" : "plain")}-");

    private static string Key(ProductShape shape, int rows) => Prefix(shape) + rows.ToString("D10", CultureInfo.InvariantCulture);

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private SortedDictionary<string, MatmulAlgorithm> Read()
    {
        var known = new SortedDictionary<string, MatmulAlgorithm>(StringComparer.Ordinal);
        try
        {
            string text = File.ReadAllText(_path);
            int end = text.TrimEnd('\n').LastIndexOf('\n') + 1;
            if (text[end..].TrimEnd('\n') != Hash(text[..end]))
            {
                return known;
            }

            foreach (var entry in text[..end].Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(2).Select(line => line.Split(' ')))
            {
                known.Add(entry[0], MemoryMarshal.Read<MatmulAlgorithm>(Convert.FromHexString(entry[1])));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // None is known.
        }

        return known;
    }
}
