using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Reflection;
using Microsoft.CodeAnalysis;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// The assemblies a script is compiled against. They are made once a process: a compile with fresh references takes three times as long.
/// </summary>
/// <remarks>
/// Assemblies whose use is refused are among them where the refusal reads better than "the type does not exist", see
/// <see cref="ScriptApiRules"/>.
/// </remarks>
internal static class ScriptReferences
{
    private static readonly string[] Always =
    [
        "System.Private.CoreLib", "System.Runtime", "System.Linq", "System.Linq.AsyncEnumerable", "System.Collections",
        "System.Collections.Concurrent", "System.Collections.Immutable", "System.Memory", "System.Threading", "System.Threading.Channels",
        "System.Threading.Tasks.Parallel", "System.Text.RegularExpressions", "System.ComponentModel.Primitives", "System.Console",
        "System.Diagnostics.Process", "System.Linq.Expressions", "System.Net.Http", "System.Net.Primitives", "System.Net.Sockets",
        "System.Private.Uri", "System.Runtime.InteropServices", "System.Runtime.Loader",
    ];

    private static readonly SortedSet<string> Allowed = new(StringComparer.Ordinal) { "System.Numerics.Tensors", "System.Runtime.Numerics", "System.Text.Json" };

    private static readonly ConcurrentDictionary<string, MetadataReference> Cache = new(StringComparer.Ordinal);

    /// <summary>What <c>#r</c> may name, for messages.</summary>
    public static string AllowedNames => string.Join(", ", Allowed.Where(name => TryFind(name) is not null));

    public static ImmutableArray<MetadataReference> Default => [.. Always.Select(Find), Of(typeof(RouterGlobals).Assembly)];

    public static bool IsAllowed(string name) => Allowed.Contains(name) && TryFind(name) is not null;

    public static MetadataReference Find(string name) => TryFind(name) ?? throw new InvalidOperationException($"Assembly {name} is not there");

    private static MetadataReference? TryFind(string name)
    {
        if (Cache.TryGetValue(name, out var known))
        {
            return known;
        }

        try
        {
            return Of(Assembly.Load(new AssemblyName(name)));
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    private static MetadataReference Of(Assembly assembly) =>
        Cache.GetOrAdd(assembly.GetName().Name!, _ => MetadataReference.CreateFromFile(assembly.Location));
}

/// <summary>Resolves the <c>#r</c> directives that <see cref="ScriptSource"/> let pass.</summary>
internal sealed class ScriptReferenceResolver : MetadataReferenceResolver
{
    public override ImmutableArray<PortableExecutableReference> ResolveReference(string reference, string? baseFilePath, MetadataReferenceProperties properties) =>
        ScriptReferences.IsAllowed(reference) ? [(PortableExecutableReference)ScriptReferences.Find(reference)] : [];

    public override bool Equals(object? other) => other is ScriptReferenceResolver;

    public override int GetHashCode() => 1;
}
