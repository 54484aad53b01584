using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests.Support;

/// <summary>Finds what was built in the same configuration as these tests.</summary>
public static class BuildOutput
{
    public static string Of(string project, string assembly)
    {
        // .../tests/EndToEnd.Tests/bin/<configuration>/<framework>/
        var own = new DirectoryInfo(AppContext.BaseDirectory);
        var path = TestPaths.InRepository(project, "bin", own.Parent!.Name, own.Name, assembly + ".dll");
        return File.Exists(path) ? path : throw new InvalidOperationException($"{path} is not built");
    }
}
