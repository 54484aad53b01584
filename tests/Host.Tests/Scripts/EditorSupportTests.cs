using System.Reflection;
using System.Xml.Linq;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Scripting.Hosting;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Scripting;
using ScriptedServe.Tests.Support;
using RouterNames = ScriptedServe.Scripting.Editor.RouterNames;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>What an editor makes of the scripts folder: as OmniSharp reads omnisharp.json and the response file that it names.</summary>
public sealed class EditorSupportTests
{
    [Theory]
    [InlineData("scripts")]
    [InlineData(".")]
    public void Every_shipped_script_compiles_against_what_the_response_file_says(string opened)
    {
        var folder = Path.GetFullPath(TestPaths.InRepository(opened));
        using var settings = System.Text.Json.JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "omnisharp.json")));
        var response = Path.Combine(folder, settings.RootElement.GetProperty("script").GetProperty("rspFilePath").GetString()!);
        var arguments = CSharpCommandLineParser.Script.Parse(["@" + response], folder, sdkDirectory: null);
        Assert.DoesNotContain(arguments.Errors, error => error.Severity == Microsoft.CodeAnalysis.DiagnosticSeverity.Error);

        var api = Assert.Single(arguments.MetadataReferences).Reference;
        var assembly = arguments.ReferencePaths.Select(path => Path.Combine(path, api)).Single(File.Exists);
        Assert.True(File.Exists(Path.ChangeExtension(assembly, ".xml")), "the documentation lies beside the assembly");
        Assert.Equal(
            AssemblyName.GetAssemblyName(typeof(RouterGlobals).Assembly.Location).FullName,
            AssemblyName.GetAssemblyName(assembly).FullName);

        var platform = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(path => Path.GetFileName(path) is var name && name.StartsWith("System.", StringComparison.Ordinal) && Path.GetDirectoryName(path) == Path.GetDirectoryName(typeof(object).Assembly.Location));
        List<MetadataReference> references = [.. platform.Append(assembly).Append(typeof(CommandLineScriptGlobals).Assembly.Location).Select(path => MetadataReference.CreateFromFile(path))];
        foreach (var file in Directory.GetFiles(TestPaths.InRepository("scripts"), "*.csx", SearchOption.AllDirectories))
        {
            var tree = CSharpSyntaxTree.ParseText(File.ReadAllText(file), new CSharpParseOptions(LanguageVersion.Latest, kind: SourceCodeKind.Script), file);
            var compilation = CSharpCompilation.CreateScriptCompilation(
                "editor", tree, references, new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, usings: arguments.CompilationOptions.Usings), globalsType: typeof(CommandLineScriptGlobals));
            Assert.DoesNotContain(compilation.GetDiagnostics(), diagnostic => diagnostic.Severity == Microsoft.CodeAnalysis.DiagnosticSeverity.Error);
        }
    }

    [Fact]
    public void The_response_file_imports_what_the_host_does_and_the_globals()
    {
        var imports = File.ReadLines(TestPaths.InRepository("scripts", "editor.rsp")).Where(line => line.StartsWith("/u:", StringComparison.Ordinal)).Select(line => line[3..]);
        Assert.Equal(ScriptCompiler.Usings.Append(typeof(RouterNames).FullName), imports);
        Assert.Equal(
            typeof(RouterGlobals).GetProperties().Select(global => (global.Name, global.PropertyType)).Order(),
            typeof(RouterNames).GetProperties(BindingFlags.Public | BindingFlags.Static).Select(name => (name.Name, name.PropertyType)).Order());
    }

    [Fact]
    public void Every_public_member_of_the_script_api_is_documented()
    {
        var documented = XDocument.Load(TestPaths.InRepository("scripts", ".api", "ScriptedServe.Scripting.xml")).Descendants("member")
            .Where(member => member.HasElements).Select(member => member.Attribute("name")!.Value.Split('(', '`')[0]).ToHashSet(StringComparer.Ordinal);
        const BindingFlags own = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        foreach (var type in typeof(RouterGlobals).Assembly.GetExportedTypes())
        {
            Assert.Contains($"T:{type.FullName}", documented);
            var members = type.GetProperties(own).Where(property => property.GetIndexParameters().Length == 0).Select(property => $"P:{type.FullName}.{property.Name}")
                .Concat(type.GetMethods(own).Where(method => !method.IsSpecialName && !IsGenerated(type, method)).Select(method => $"M:{type.FullName}.{method.Name}"));

            // A positional record's properties are documented as its parameters.
            var parameters = IsRecord(type) ? type.GetConstructors().SelectMany(constructor => constructor.GetParameters()).Select(parameter => $"P:{type.FullName}.{parameter.Name}") : [];
            Assert.All(members.Except(parameters), member => Assert.Contains(member, documented));
        }

        static bool IsRecord(Type type) => type.GetMethod("PrintMembers", BindingFlags.NonPublic | BindingFlags.Instance) is not null;

        static bool IsGenerated(Type type, MethodInfo method) =>
            method.GetCustomAttribute<System.Runtime.CompilerServices.CompilerGeneratedAttribute>() is not null || (IsRecord(type) && method.Name is "ToString" or "GetHashCode" or "Equals" or "<Clone>$" or "Deconstruct");
    }

    [Fact]
    public void The_readme_tells_every_limit_with_its_setting_and_default()
    {
        var rows = File.ReadLines(TestPaths.InRepository("scripts", "README.md"))
            .Select(line => System.Text.RegularExpressions.Regex.Match(line, @"^\| .+ \| (\d+)(?: \w+)? \| `([a-z-]+)` \|$"))
            .Where(match => match.Success).ToDictionary(match => match.Groups[2].Value, match => int.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture));
        var settings = Options.HostSettings.OfScripts;
        Assert.Equal(settings.Select(one => one.Setting.Name).Order(), rows.Keys.Order());
        Assert.All(settings, one =>
        {
            // What is documented as the default is what holds when nothing is set.
            var limits = new ScriptLimits();
            one.Set(limits, rows[one.Setting.Name]);
            Assert.Equivalent(new ScriptLimits(), limits);
            Assert.Contains($"Default: {rows[one.Setting.Name]}.", one.Setting.Description, StringComparison.Ordinal);
        });
    }

    [Fact]
    public void The_readme_names_every_id_of_a_refused_api_and_every_shipped_router()
    {
        var readme = File.ReadAllText(TestPaths.InRepository("scripts", "README.md"));
        var ids = typeof(ScriptApiRules).GetFields(BindingFlags.NonPublic | BindingFlags.Static).Select(field => field.GetValue(null)).OfType<ApiRule>().Select(rule => rule.Id)
            .Concat(typeof(ScriptDiagnosticIds).GetFields().Select(field => (string)field.GetValue(null)!)).Except(["SS0002", "SS0003", ScriptDiagnosticIds.GuardFailed]);
        Assert.All(ids, id => Assert.Contains($"`{id}`", readme, StringComparison.Ordinal));
        Assert.All(
            Directory.GetFiles(TestPaths.InRepository("scripts"), "*.csx", SearchOption.AllDirectories).Select(Path.GetFileName),
            file => Assert.Contains($"`{file}`", readme, StringComparison.Ordinal));
    }
}
