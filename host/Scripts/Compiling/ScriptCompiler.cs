using System.Collections.Immutable;
using System.Text;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Emit;
using Microsoft.CodeAnalysis.Text;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Compiles routers. Without state: any number may run at once; the catalog runs one at a time.
/// </summary>
/// <remarks>
/// The steps: (1) compile the author's text for its diagnostics; (2) check entry points and API rules on its symbols; (3) put the guards
/// in; (4) compile that to an image. CSharpScript would run the text as well, but it leaks an assembly each time.
/// </remarks>
public sealed class ScriptCompiler(ScriptFolder folder, ScriptLimits limits, ScriptApiRules rules) : IScriptCompiler
{
    /// <summary>Imported into every script; <c>scripts/editor.rsp</c> says the same to editors.</summary>
    internal static readonly string[] Usings =
    [
        "System", "System.Linq", "System.Collections.Generic", "System.Threading", "System.Threading.Tasks", "ScriptedServe.Scripting",
    ];

    // Framework version unification, and "this async method lacks await": right for a router that only yields.
    private static readonly ImmutableDictionary<string, ReportDiagnostic> Quiet = ImmutableDictionary<string, ReportDiagnostic>.Empty
        .Add("CS1701", ReportDiagnostic.Suppress).Add("CS1702", ReportDiagnostic.Suppress).Add("CS1998", ReportDiagnostic.Suppress);

    public ScriptFolder Folder => folder;

    internal static CSharpParseOptions ParseOptions { get; } = new(LanguageVersion.Latest, DocumentationMode.None, SourceCodeKind.Script);

    /// <summary>As <see cref="IScriptCompiler.ReadAsync"/>.</summary>
    public ScriptSource Read(string name, string text) => ScriptSource.Read(name + ".csx", text, folder, limits);

    Task<ScriptSource> IScriptCompiler.ReadAsync(string name, string text, CancellationToken cancellationToken) => Task.FromResult(Read(name, text));

    Task<CompiledScript> IScriptCompiler.CompileAsync(ScriptSource source, string assemblyName, CancellationToken cancellationToken) =>
        Task.Run(() => Compile(source, assemblyName, cancellationToken), cancellationToken);

    /// <summary>As <see cref="IScriptCompiler.CompileAsync"/>.</summary>
    public CompiledScript Compile(ScriptSource source, string assemblyName, CancellationToken cancellationToken)
    {
        if (source.Refusals.Count > 0)
        {
            return Rejected(source, source.Refusals);
        }

        try
        {
            return CompileParts(source, assemblyName, cancellationToken);
        }
        catch (InsufficientExecutionStackException)
        {
            return Rejected(source, [new RouterDiagnostic(
                source.Main.Path, 0, 0, ScriptDiagnosticIds.CompilerFailed, DiagnosticSeverity.Error, "the text is nested too deeply for the compiler")]);
        }
    }

    private CompiledScript CompileParts(ScriptSource source, string assemblyName, CancellationToken cancellationToken)
    {
        // 1
        var plain = Create(assemblyName, source.Files.ToDictionary(file => file.Path, file => SourceText.From(file.Text, Encoding.UTF8)), source.Main.Path);
        var diagnostics = Convert(plain, source.Main.Path, cancellationToken).ToList();

        // 2. A text that cannot even be parsed says nothing reliable of its functions.
        if (!plain.SyntaxTrees.Any(tree => tree.GetDiagnostics(cancellationToken).Any(diagnostic => diagnostic.Severity == Microsoft.CodeAnalysis.DiagnosticSeverity.Error)))
        {
            diagnostics.AddRange(EntryPoints.Check(plain, source.Main.Path));
        }

        if (!diagnostics.Exists(diagnostic => diagnostic.IsError))
        {
            diagnostics.AddRange(ScriptApiCheck.Check(rules, plain));
        }

        if (diagnostics.Exists(diagnostic => diagnostic.IsError))
        {
            return Rejected(source, diagnostics);
        }

        // 3
        var guardedTexts = plain.SyntaxTrees.ToDictionary(tree => tree.FilePath, tree => GuardInjection.Inject(plain.GetSemanticModel(tree)));
        var guarded = Create(assemblyName, guardedTexts, source.Main.Path);

        // 4
        using var image = new MemoryStream();
        using var symbols = new MemoryStream();
        var emitted = guarded.Emit(image, symbols, options: new EmitOptions(debugInformationFormat: DebugInformationFormat.PortablePdb), cancellationToken: cancellationToken);
        if (!emitted.Success)
        {
            var cause = emitted.Diagnostics.First(diagnostic => diagnostic.Severity == Microsoft.CodeAnalysis.DiagnosticSeverity.Error);
            return Rejected(source, [.. diagnostics, new RouterDiagnostic(
                source.Main.Path, cause.Location.GetLineSpan().StartLinePosition.Line + 1, 1, ScriptDiagnosticIds.GuardFailed, DiagnosticSeverity.Error,
                $"the host could not put its limits into this line: {cause.GetMessage(System.Globalization.CultureInfo.InvariantCulture)}")]);
        }

        var entry = guarded.GetEntryPoint(cancellationToken) ?? throw new InvalidOperationException("A script has an entry point");
        return new CompiledScript(source, image.ToArray(), symbols.ToArray(), entry.ContainingType.MetadataName, entry.MetadataName, ShortTurns.Has(plain), Sorted(source, diagnostics));
    }

    private static CompiledScript Rejected(ScriptSource source, IReadOnlyList<RouterDiagnostic> diagnostics) =>
        new(source, null, null, null, null, false, Sorted(source, diagnostics));

    private static List<RouterDiagnostic> Sorted(ScriptSource source, IEnumerable<RouterDiagnostic> diagnostics) =>
        [.. diagnostics.Select(diagnostic => diagnostic.Quoting(source.TextOf)).OrderBy(diagnostic => diagnostic.File, StringComparer.Ordinal).ThenBy(diagnostic => diagnostic.Line).ThenBy(diagnostic => diagnostic.Column)];

    private static CSharpCompilation Create(string assemblyName, Dictionary<string, SourceText> texts, string main)
    {
        var options = new CSharpCompilationOptions(
            OutputKind.DynamicallyLinkedLibrary,
            usings: Usings,
            optimizationLevel: OptimizationLevel.Release,
            // Let through here, so that the API check can say why it is refused.
            allowUnsafe: true,
            concurrentBuild: false,
            deterministic: true,
            specificDiagnosticOptions: Quiet,
            sourceReferenceResolver: new LoadedTexts(texts),
            metadataReferenceResolver: new ScriptReferenceResolver(),
            nullableContextOptions: NullableContextOptions.Annotations);
        return CSharpCompilation.CreateScriptCompilation(
            assemblyName,
            CSharpSyntaxTree.ParseText(texts[main], ParseOptions, main),
            ScriptReferences.Default,
            options,
            returnType: typeof(object),
            globalsType: typeof(RouterGlobals));
    }

    private static IEnumerable<RouterDiagnostic> Convert(CSharpCompilation compilation, string main, CancellationToken cancellationToken)
    {
        foreach (var diagnostic in compilation.GetDiagnostics(cancellationToken))
        {
            if (diagnostic.Severity < Microsoft.CodeAnalysis.DiagnosticSeverity.Warning || diagnostic.IsSuppressed)
            {
                continue;
            }

            var severity = diagnostic.Severity == Microsoft.CodeAnalysis.DiagnosticSeverity.Error ? DiagnosticSeverity.Error : DiagnosticSeverity.Warning;
            var message = diagnostic.GetMessage(System.Globalization.CultureInfo.InvariantCulture);
            if (!diagnostic.Location.IsInSource)
            {
                yield return new RouterDiagnostic(main, 0, 0, diagnostic.Id, severity, message);
                continue;
            }

            var (at, end) = (diagnostic.Location.GetLineSpan(), diagnostic.Location.GetLineSpan().EndLinePosition);
            yield return new RouterDiagnostic(at.Path, at.StartLinePosition.Line + 1, at.StartLinePosition.Character + 1, diagnostic.Id, severity, message)
            {
                EndColumn = end.Line == at.StartLinePosition.Line ? end.Character + 1 : 0,
                Hint = severity == DiagnosticSeverity.Error ? DiagnosticHints.For(diagnostic, compilation) : null,
            };
        }
    }

    /// <summary>Serves <c>#load</c> from the texts that were read before: the compiler itself opens no file.</summary>
    private sealed class LoadedTexts(Dictionary<string, SourceText> texts) : SourceReferenceResolver
    {
        public override string? NormalizePath(string path, string? baseFilePath) => ScriptFolder.Resolve(path, baseFilePath) ?? path;

        public override string? ResolveReference(string path, string? baseFilePath) =>
            ScriptFolder.Resolve(path, baseFilePath) is { } resolved && texts.ContainsKey(resolved) ? resolved : null;

        public override Stream OpenRead(string resolvedPath) => new MemoryStream(Encoding.UTF8.GetBytes(texts[resolvedPath].ToString()));

        public override SourceText ReadText(string resolvedPath) => texts[resolvedPath];

        public override bool Equals(object? other) => ReferenceEquals(this, other);

        public override int GetHashCode() => System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(this);
    }
}
