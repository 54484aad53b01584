using System.Runtime.InteropServices;

namespace ScriptedServe.Host;

/// <summary>The dotnet executable that this process runs under; what else belongs to the host is started with it.</summary>
internal static class DotnetProgram
{
    public static string Find()
    {
        var name = OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet";

        // <root>/shared/Microsoft.NETCore.App/<version>/ is the runtime this process runs on, also under an apphost.
        var root = new DirectoryInfo(RuntimeEnvironment.GetRuntimeDirectory()).Parent?.Parent?.Parent?.FullName;
        string?[] candidates =
        [
            Environment.GetEnvironmentVariable("DOTNET_HOST_PATH"),
            Path.GetFileName(Environment.ProcessPath) == name ? Environment.ProcessPath : null,
            root is null ? null : Path.Combine(root, name),
        ];
        return candidates.FirstOrDefault(File.Exists) ?? name;
    }
}
