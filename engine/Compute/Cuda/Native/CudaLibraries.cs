using System.Reflection;
using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cuda.Native;

/// <summary>
/// Loads the CUDA libraries and binds the imports of this assembly to them. The bindings are the process's: what was loaded first stays, and a later call finds it loaded.
/// </summary>
internal static class CudaLibraries
{
    private static readonly Lock Loading = new();
    private static readonly Dictionary<string, nint> Handles = new(StringComparer.Ordinal);
    private static bool s_resolving;

    /// <summary>The driver, NVRTC and cuBLASLt.</summary>
    public static IReadOnlyList<WantedLibrary> All { get; } = [WantedLibrary.Driver, WantedLibrary.Nvrtc, WantedLibrary.CublasLt];

    /// <param name="given">Folders to look in first.</param>
    /// <exception cref="CudaUnavailableException">Names every library that is missing or does not load, and where it was looked for.</exception>
    public static void Load(LibraryFinder finder, IReadOnlyList<string> given, IReadOnlyList<WantedLibrary> libraries)
    {
        lock (Loading)
        {
            var problems = new List<string>();
            IReadOnlyList<string> folders = [];
            foreach (var library in libraries)
            {
                var found = finder.Find(library, given);
                if (!Handles.ContainsKey(library.Key) && TryLoad(found) is { } problem)
                {
                    problems.Add(problem);
                    folders = found.Folders;
                }
            }

            if (problems.Count > 0)
            {
                throw new CudaUnavailableException($"CUDA cannot be used here: {string.Join("; ", problems)}. Looked in {string.Join(", ", folders)}, and where the loader looks. --device cpu does without.");
            }

            if (!s_resolving)
            {
                NativeLibrary.SetDllImportResolver(typeof(CudaLibraries).Assembly, Resolve);
                s_resolving = true;
            }
        }
    }

    /// <returns>What is wrong, or null.</returns>
    private static string? TryLoad(FoundLibrary found)
    {
        // The loader knows LD_LIBRARY_PATH and its own cache; a path that was found comes first.
        string[] candidates = found.Path is { } path ? [path] : [.. found.Library.FileNames];
        foreach (var candidate in candidates)
        {
            if (NativeLibrary.TryLoad(candidate, out var handle))
            {
                Handles[found.Library.Key] = handle;
                return null;
            }
        }

        return found.Path is null
            ? $"{string.Join(" or ", found.Library.FileNames)} was not found ({found.Library.Purpose})"
            : $"{found.Path} is there and does not load ({found.Library.Purpose})";
    }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath) => Handles.GetValueOrDefault(name);
}
