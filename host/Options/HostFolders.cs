using ScriptedServe.Host.Engines.Supervision;

namespace ScriptedServe.Host.Options;

/// <summary>Where scripts and the built-in model lie when no option says so.</summary>
internal static class HostFolders
{
    public static string BuiltInModel { get; } = Path.Combine(EngineBinary.Folder, "models", "storyteller");

    /// <summary><c>./scripts</c>; else the nearest <c>scripts/</c> with a router above the program, as in a clone; else the copy beside it.</summary>
    public static string Scripts(string workingFolder, string programFolder)
    {
        var here = Path.Combine(workingFolder, "scripts");
        if (Directory.Exists(here))
        {
            return here;
        }

        var beside = Path.Combine(programFolder, "scripts");
        for (var folder = new DirectoryInfo(programFolder).Parent; folder is not null; folder = folder.Parent)
        {
            var above = Path.Combine(folder.FullName, "scripts");
            if (Directory.Exists(above) && Directory.EnumerateFiles(above, "*.csx").Any())
            {
                return above;
            }
        }

        return beside;
    }
}
