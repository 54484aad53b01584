using System.Security.Cryptography;
using System.Text;

namespace ScriptedServe.Engine.Compute.Cuda.Compilation;

/// <summary>
/// Keeps what was compiled on the disk: a file each, named by a hash of sources, kernels, options, compiler and driver, so that nothing there is ever out of date. A file that is damaged
/// is compiled anew, and a folder that cannot be written costs the time of compiling. Processes may share a folder: files appear whole.
/// </summary>
/// <param name="folder">Made, for its user alone, when first written.</param>
/// <param name="driverVersion">Of the driver that loads the images.</param>
internal sealed class KernelCache(string folder, IKernelCompiler compiler, string driverVersion)
{
    private const string Magic = "ScriptedServe kernels 1";

    /// <summary>scriptedserve/kernels in the user's cache folder.</summary>
    public static string DefaultFolder(Func<string, string?> environment)
    {
        var cache = environment("XDG_CACHE_HOME") is { Length: > 0 } given ? given : Path.Combine(environment("HOME") ?? Path.GetTempPath(), ".cache");
        return Path.Combine(cache, "scriptedserve", "kernels");
    }

    /// <summary>As <see cref="IKernelCompiler.Compile"/>, from the disk where it is there.</summary>
    public CompiledKernels Get(KernelSources sources, IReadOnlyList<string> kernels, IReadOnlyList<string> options)
    {
        var path = Path.Combine(folder, Hash(sources, kernels, options) + ".kernels");
        if (TryRead(path) is { } kept && kernels.All(kept.Names.ContainsKey))
        {
            return kept;
        }

        var compiled = compiler.Compile(sources, kernels, options);
        TryWrite(path, compiled);
        return compiled;
    }

    private string Hash(KernelSources sources, IReadOnlyList<string> kernels, IReadOnlyList<string> options)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        void Add(string text)
        {
            // The length tells where a text ends.
            var bytes = Encoding.UTF8.GetBytes(text);
            hash.AppendData(BitConverter.GetBytes(bytes.Length));
            hash.AppendData(bytes);
        }

        foreach (var text in (string[])[Magic, compiler.Version, driverVersion, $"{kernels.Count} {options.Count}", .. kernels, .. options])
        {
            Add(text);
        }

        foreach (var (name, text) in sources.Files.OrderBy(file => file.Key, StringComparer.Ordinal))
        {
            Add(name);
            Add(text);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 16));
    }

    private static CompiledKernels? TryRead(string path)
    {
        try
        {
            var file = File.ReadAllBytes(path);
            var body = file.AsSpan(..^SHA256.HashSizeInBytes);
            if (!SHA256.HashData(body).AsSpan().SequenceEqual(file.AsSpan(^SHA256.HashSizeInBytes..)))
            {
                return null;
            }

            using var reader = new BinaryReader(new MemoryStream(file, 0, body.Length));
            _ = reader.ReadString();
            var names = new Dictionary<string, string>(StringComparer.Ordinal);
            for (var left = reader.ReadInt32(); left > 0; left--)
            {
                names[reader.ReadString()] = reader.ReadString();
            }

            return new CompiledKernels(reader.ReadBytes(reader.ReadInt32()), names);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentOutOfRangeException)
        {
            return null;
        }
    }

    private void TryWrite(string path, CompiledKernels compiled)
    {
        using var body = new MemoryStream();
        using (var writer = new BinaryWriter(body, Encoding.UTF8, leaveOpen: true))
        {
            writer.Write(Magic);
            writer.Write(compiled.Names.Count);
            foreach (var (kernel, name) in compiled.Names)
            {
                writer.Write(kernel);
                writer.Write(name);
            }

            writer.Write(compiled.Image.Length);
            writer.Write(compiled.Image);
        }

        body.Write(SHA256.HashData(body.GetBuffer().AsSpan(0, (int)body.Length)));
        var draft = $"{path}.{Path.GetRandomFileName()}";
        try
        {
            _ = OperatingSystem.IsWindows()
                ? Directory.CreateDirectory(folder)
                : Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            File.WriteAllBytes(draft, body.ToArray());
            File.Move(draft, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The next start compiles again.
        }
    }
}
