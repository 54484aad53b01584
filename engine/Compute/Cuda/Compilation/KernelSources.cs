using System.Reflection;
using System.Text;

namespace ScriptedServe.Engine.Compute.Cuda.Compilation;

/// <summary>The kernels' sources by file name, as they are in Kernels/.</summary>
internal sealed record KernelSources(IReadOnlyDictionary<string, string> Files)
{
    private const string Prefix = "cuda/";

    /// <summary>Those built into this assembly.</summary>
    public static KernelSources BuiltIn()
    {
        var assembly = typeof(KernelSources).Assembly;
        return new KernelSources(assembly.GetManifestResourceNames()
            .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal))
            .ToDictionary(name => name[Prefix.Length..], name => Read(assembly, name), StringComparer.Ordinal));
    }

    /// <summary>A source that includes every kernel.</summary>
    public string Whole() => string.Concat(Files.Keys.Where(name => name.EndsWith(".cu", StringComparison.Ordinal)).Order(StringComparer.Ordinal).Select(name => $"#include \"{name}\"\n"));

    private static string Read(Assembly assembly, string name)
    {
        using var reader = new StreamReader(assembly.GetManifestResourceStream(name)!, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
