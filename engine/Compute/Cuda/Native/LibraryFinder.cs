namespace ScriptedServe.Engine.Compute.Cuda.Native;

/// <summary>A library to look for.</summary>
/// <param name="Key">The name under which the bindings import it.</param>
/// <param name="FileNames">Best first.</param>
/// <param name="Purpose">Whose library it is, and how one gets it.</param>
internal sealed record WantedLibrary(string Key, IReadOnlyList<string> FileNames, string Purpose)
{
    public static WantedLibrary Driver { get; } = new("cuda", ["libcuda.so.1", "libcuda.so"], "the NVIDIA driver, which comes with the machine");

    public static WantedLibrary Nvrtc { get; } = new("nvrtc", ["libnvrtc.so.13", "libnvrtc.so.12"], "NVRTC of the CUDA toolkit, or of pip's nvidia-cuda-nvrtc");

    public static WantedLibrary Nccl { get; } = new("nccl", ["libnccl.so.2"], "NCCL, which joins several GPUs, of NVIDIA's packages or of pip's nvidia-nccl");

    public static WantedLibrary CublasLt { get; } = new("cublasLt", ["libcublasLt.so.13", "libcublasLt.so.12"], "cuBLASLt of the CUDA toolkit, or of pip's nvidia-cublas");
}

/// <summary>Where a library is, or where it was looked for.</summary>
/// <param name="Path">Null if it is in none of the folders.</param>
internal sealed record FoundLibrary(WantedLibrary Library, string? Path, IReadOnlyList<string> Folders);

/// <summary>
/// Looks for the CUDA libraries: (1) in the folders given, (2) where CUDA_HOME or CUDA_PATH points, (3) in the usual places of the toolkit and the distributions, (4) in
/// the nvidia packages that a pip PyTorch brings, of the active environment first. The newest version is taken wherever it is, and of one version the first.
/// </summary>
/// <param name="root">In front of every fixed place; "/" but in tests.</param>
/// <param name="environment">As <see cref="Environment.GetEnvironmentVariable(string)"/>.</param>
internal sealed class LibraryFinder(string root, Func<string, string?> environment)
{
    private static readonly string[] SystemFolders =
        ["usr/local/cuda/lib64", "usr/local/nvidia/lib64", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib/wsl/lib", "usr/lib", "opt/cuda/lib64"];

    /// <param name="given">Folders that the user names.</param>
    public FoundLibrary Find(WantedLibrary library, IReadOnlyList<string> given)
    {
        List<string> folders = [.. given, .. ToolkitFolders(), .. PipFolders()];
        foreach (var name in library.FileNames)
        {
            foreach (var folder in folders)
            {
                var path = Path.Combine(folder, name);
                if (File.Exists(path))
                {
                    return new FoundLibrary(library, path, folders);
                }
            }
        }

        return new FoundLibrary(library, null, folders);
    }

    private IEnumerable<string> ToolkitFolders()
    {
        foreach (var variable in (string[])["CUDA_HOME", "CUDA_PATH"])
        {
            if (environment(variable) is { Length: > 0 } home)
            {
                yield return Path.Combine(home, "lib64");
            }
        }

        foreach (var folder in SystemFolders)
        {
            yield return Path.Combine(root, folder);
        }

        foreach (var version in Matches(Path.Combine(root, "usr/local"), "cuda-*").OrderDescending(StringComparer.Ordinal))
        {
            yield return Path.Combine(version, "lib64");
        }
    }

    /// <summary>site-packages/nvidia/*/lib, for as many environments as there are.</summary>
    private IEnumerable<string> PipFolders()
    {
        string?[] prefixes = [environment("VIRTUAL_ENV"), environment("CONDA_PREFIX"), environment("HOME") is { } home ? Path.Combine(home, ".local") : null, .. InRoot("usr/local", "usr", "opt/venv", "opt/conda")];
        foreach (var prefix in prefixes.Where(prefix => prefix is { Length: > 0 }))
        {
            foreach (var python in Matches(Path.Combine(prefix!, "lib"), "python3*").OrderDescending(StringComparer.Ordinal))
            {
                foreach (var packages in (string[])["site-packages", "dist-packages"])
                {
                    foreach (var package in Matches(Path.Combine(python, packages, "nvidia"), "*").Order(StringComparer.Ordinal))
                    {
                        yield return Path.Combine(package, "lib");
                    }
                }
            }
        }
    }

    private IEnumerable<string> InRoot(params string[] folders) => folders.Select(folder => Path.Combine(root, folder));

    private static string[] Matches(string folder, string pattern)
    {
        try
        {
            return Directory.Exists(folder) ? Directory.GetDirectories(folder, pattern) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What cannot be read has no library for us.
            return [];
        }
    }
}
