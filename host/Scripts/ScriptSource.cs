using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace ScriptedServe.Host.Scripts;

/// <summary>One file of a router.</summary>
/// <param name="Path">Relative to the scripts folder.</param>
public sealed record ScriptFile(string Path, string Text);

/// <summary>
/// A router's text together with all the files it <c>#load</c>s, read at one moment: what is compiled, hashed and remembered as one version.
/// </summary>
/// <param name="Files">The router's own file first, then those it loads, each once.</param>
/// <param name="Hash">SHA-256 over paths and texts, hexadecimal. A file that could not be loaded counts by its path and the reason.</param>
/// <param name="Refusals">Directives that cannot be followed; not empty means that it cannot be compiled.</param>
public sealed record ScriptSource(IReadOnlyList<ScriptFile> Files, string Hash, IReadOnlyList<RouterDiagnostic> Refusals)
{
    [JsonIgnore]
    public ScriptFile Main => Files[0];

    public string? TextOf(string path) => Files.FirstOrDefault(file => file.Path == path)?.Text;

    /// <summary>Follows the <c>#load</c> and checks the <c>#r</c> directives of a text.</summary>
    /// <param name="path">The file name the text goes by.</param>
    public static ScriptSource Read(string path, string text, ScriptFolder folder, ScriptLimits limits)
    {
        var reader = new Reader(folder, limits);
        reader.Add(path, text, depth: 0);
        return new ScriptSource(reader.Files, HashOf(reader.Files, reader.Refusals), reader.Refusals);
    }

    /// <summary>A text that could not even be read.</summary>
    internal static ScriptSource Refused(ScriptFile file, string id, string why)
    {
        RouterDiagnostic[] refusals = [new(file.Path, 0, 0, id, DiagnosticSeverity.Error, why)];
        return new ScriptSource([file], HashOf([file], refusals), refusals);
    }

    private static string HashOf(IEnumerable<ScriptFile> files, IEnumerable<RouterDiagnostic> refusals)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var part in files.SelectMany(file => new[] { file.Path, file.Text }).Concat(refusals.Select(refusal => refusal.Message)))
        {
            var bytes = Encoding.UTF8.GetBytes(part);
            hash.AppendData(BitConverter.GetBytes(bytes.Length));
            hash.AppendData(bytes);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private sealed class Reader(ScriptFolder folder, ScriptLimits limits)
    {
        private readonly HashSet<string> _seen = new(StringComparer.Ordinal);

        public List<ScriptFile> Files { get; } = [];

        public List<RouterDiagnostic> Refusals { get; } = [];

        public void Add(string path, string text, int depth)
        {
            _seen.Add(path);
            Files.Add(new ScriptFile(path, text));
            if (Encoding.UTF8.GetByteCount(text) is var bytes && bytes > limits.SourceBytes)
            {
                Refusals.Add(new RouterDiagnostic(
                    path, 0, 0, ScriptDiagnosticIds.TooLarge, DiagnosticSeverity.Error,
                    $"the script has {bytes} bytes; the limit is {limits.SourceBytes} (setting script-source-kib)"));
                return;
            }

            if (ScriptNesting.TooDeepAt(text) is { } line)
            {
                Refusals.Add(new RouterDiagnostic(
                    path, line, 1, ScriptDiagnosticIds.CompilerFailed, DiagnosticSeverity.Error, $"brackets are nested more than {ScriptNesting.MaxDepth} deep"));
                return;
            }

            var root = (CompilationUnitSyntax)CSharpSyntaxTree.ParseText(text, ScriptCompiler.ParseOptions, path).GetRoot();
            foreach (var directive in root.GetReferenceDirectives())
            {
                var assembly = directive.File.ValueText;
                if (!ScriptReferences.IsAllowed(assembly))
                {
                    Refuse(path, directive, ScriptDiagnosticIds.ReferenceRefused, $"#r \"{assembly}\": only these can be referenced: {ScriptReferences.AllowedNames}");
                }
            }

            foreach (var directive in root.GetLoadDirectives())
            {
                Follow(path, directive, depth);
            }
        }

        private void Follow(string from, LoadDirectiveTriviaSyntax directive, int depth)
        {
            var named = directive.File.ValueText;
            var path = ScriptFolder.Resolve(named, from);
            if (path is null)
            {
                RefuseLoad("it leads out of the scripts folder; name a neighbour, with forward slashes");
            }
            else if (!path.EndsWith(".csx", StringComparison.Ordinal))
            {
                RefuseLoad("only .csx files can be loaded");
            }
            else if (_seen.Contains(path))
            {
                // Loaded once already; the compiler passes over it as well.
            }
            else if (depth >= limits.LoadDepth)
            {
                RefuseLoad($"files load one another more than {limits.LoadDepth} deep (setting script-load-depth)");
            }
            else if (Files.Count > limits.LoadFiles)
            {
                RefuseLoad($"the router loads more than {limits.LoadFiles} files (setting script-load-files)");
            }
            else if (folder.Read(path, limits.SourceBytes) is { Text: { } text })
            {
                Add(path, text, depth + 1);
            }
            else
            {
                RefuseLoad(folder.Read(path, limits.SourceBytes).Refusal ?? "it changed while it was read");
            }

            void RefuseLoad(string why) => Refuse(from, directive, ScriptDiagnosticIds.LoadRefused, $"#load \"{named}\": {why}");
        }

        private void Refuse(string path, DirectiveTriviaSyntax directive, string id, string message)
        {
            var at = directive.GetLocation().GetLineSpan().StartLinePosition;
            Refusals.Add(new RouterDiagnostic(path, at.Line + 1, at.Character + 1, id, DiagnosticSeverity.Error, message));
        }
    }
}
