namespace ScriptedServe.Tests.Support;

/// <summary>Where tests find things on disk.</summary>
public static class TestPaths
{
    /// <summary>The repository's root: the nearest ancestor of the test binary that holds the solution.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>Folder of golden models, real tokenizers and chat templates, or null where the machine has none.</summary>
    public static string? TestData { get; } =
        Environment.GetEnvironmentVariable("SCRIPTEDSERVE_TEST_DATA") is { Length: > 0 } path && Directory.Exists(path) ? Path.GetFullPath(path) : null;

    /// <summary>True on a CI run, where a missing prerequisite is a failure and not a skip.</summary>
    public static bool IsCi { get; } = string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.OrdinalIgnoreCase);

    public static string InRepository(params string[] parts) => Path.Combine([Repository, .. parts]);

    public static string InTestData(params string[] parts) =>
        Path.Combine([TestData ?? throw new InvalidOperationException("SCRIPTEDSERVE_TEST_DATA names no folder"), .. parts]);

    private static string FindRepository()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "ScriptedServe.sln")))
            {
                return directory.FullName;
            }
        }

        throw new InvalidOperationException($"No ScriptedServe.sln above {AppContext.BaseDirectory}");
    }
}
