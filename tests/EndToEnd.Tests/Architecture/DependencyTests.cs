using System.Xml.Linq;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests.Architecture;

/// <summary>The directions in which projects, and folders within the engine, may depend on each other.</summary>
public class DependencyTests
{
    /// <summary>Every product project and all that it may reference. A project missing here is an error.</summary>
    private static readonly Dictionary<string, string[]> AllowedProjects = new()
    {
        ["ScriptedServe.Contracts"] = [],
        ["ScriptedServe.KvTransport"] = [],
        ["ScriptedServe.Scripting"] = [],
        ["ScriptedServe.Engine"] = ["ScriptedServe.Contracts", "ScriptedServe.KvTransport"],
        ["ScriptedServe.Host"] = ["ScriptedServe.Contracts", "ScriptedServe.Scripting"],
    };

    [Fact]
    public void Projects_reference_only_what_the_design_allows()
    {
        var seen = new List<string>();
        foreach (var file in ProductProjects())
        {
            var name = Path.GetFileNameWithoutExtension(file);
            seen.Add(name);
            Assert.True(AllowedProjects.TryGetValue(name, out var allowed), $"{name} has no entry in the table of allowed references");

            var references = XDocument.Load(file).Descendants("ProjectReference")
                // The host is built together with the engine to start it as a process, but does not see its types.
                .Where(reference => (string?)reference.Attribute("ReferenceOutputAssembly") != "false")
                .Select(reference => Path.GetFileNameWithoutExtension(((string)reference.Attribute("Include")!).Replace('\\', '/')));
            Assert.Empty(references.Except(allowed));
        }

        Assert.Equal(AllowedProjects.Keys.Order(), seen.Order());
    }

    [Theory]
    [InlineData(typeof(ScriptedServe.Scripting.Request))]
    [InlineData(typeof(ScriptedServe.Contracts.IEngineApi))]
    [InlineData(typeof(ScriptedServe.KvTransport.KvPool))]
    public void Contracts_transport_and_the_script_API_are_built_on_no_project_of_ours(Type type)
    {
        var ours = type.Assembly.GetReferencedAssemblies().Where(name => name.Name!.StartsWith("ScriptedServe", StringComparison.Ordinal));
        Assert.Empty(ours);
    }

    [Fact]
    public void The_script_API_needs_nothing_but_the_base_class_library()
    {
        var references = typeof(ScriptedServe.Scripting.Request).Assembly.GetReferencedAssemblies().Select(name => name.Name!);
        Assert.All(references, name => Assert.StartsWith("System", name, StringComparison.Ordinal));
    }

    /// <summary>Folders of the engine and the sibling folders their code must not name.</summary>
    [Theory]
    [InlineData("Compute", "Kv", "Reservations", "Scheduling", "Service", "Options")] // A device chooses tokens where the logits are, by the parameters of Sampling, which names no one.
    [InlineData("Sampling", "Compute", "Kv", "Reservations", "Scheduling", "Service", "Options")]
    [InlineData("Kv", "Compute", "Reservations", "Scheduling", "Sampling", "Service", "Options")]
    [InlineData("Reservations", "Compute", "Sampling", "Service", "Options")]
    [InlineData("Scheduling", "Service", "Options")]
    public void Engine_folders_depend_downwards_only(string folder, params string[] forbidden)
    {
        var files = Directory.GetFiles(TestPaths.InRepository("engine", folder), "*.cs", SearchOption.AllDirectories);
        Assert.NotEmpty(files);
        foreach (var file in files)
        {
            var text = File.ReadAllText(file);
            Assert.All(forbidden, name => Assert.DoesNotContain($"ScriptedServe.Engine.{name};", text, StringComparison.Ordinal));
        }
    }

    private static IEnumerable<string> ProductProjects() =>
        new[] { "host", "engine", "kvtransport" }
            .SelectMany(folder => Directory.GetFiles(TestPaths.InRepository(folder), "*.csproj", SearchOption.AllDirectories))
            .Where(file => !file.Split(Path.DirectorySeparatorChar).Any(part => part is "bin" or "obj"));
}
