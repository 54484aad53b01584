using IOPath = System.IO.Path;

namespace ScriptedServe.Contracts;

/// <summary>
/// A temporary folder for sockets, which this user alone can enter (0700). Disposal removes it; where a process is killed before that,
/// the next one that makes such a folder does: a folder whose <c>owner.lock</c> nobody holds has no owner any more.
/// </summary>
public sealed class PrivateFolder : IDisposable
{
    private const string Prefix = "scriptedserve-";
    private const string LockName = "owner.lock";
    private const int Attempts = 3;

    // The system lets go of it when the process ends, however it ends.
    private readonly FileStream _owned;

    private PrivateFolder(string path, FileStream owned) => (Path, _owned) = (path, owned);

    public string Path { get; }

    /// <param name="parent">Null: the system's folder for temporary files.</param>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static PrivateFolder Create(string? parent = null)
    {
        parent ??= IOPath.GetTempPath();
        RemoveAbandoned(parent);
        for (var attempt = 1; ; attempt++)
        {
            var path = Make(parent);
            try
            {
                return new PrivateFolder(path, Own(path, FileMode.CreateNew));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException && attempt < Attempts)
            {
                // Another process took it for an abandoned one before it was locked, and removes it.
            }
        }
    }

    public void Dispose()
    {
        // The lock file goes with the rest before it is let go of: nobody else removes the folder meanwhile.
        TryRemove(Path);
        _owned.Dispose();
    }

    private static string Make(string parent)
    {
        var path = IOPath.Combine(parent, Prefix + IOPath.GetRandomFileName().Replace(".", "", StringComparison.Ordinal));
        _ = OperatingSystem.IsWindows()
            ? Directory.CreateDirectory(path)
            : Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return path;
    }

    private static FileStream Own(string folder, FileMode mode) => new(IOPath.Combine(folder, LockName), mode, FileAccess.ReadWrite, FileShare.None);

    private static void RemoveAbandoned(string parent)
    {
        foreach (var folder in Directory.EnumerateDirectories(parent, Prefix + "*", new EnumerationOptions { IgnoreInaccessible = true }))
        {
            // Without a lock file it is something else's, or only just being made.
            if (!File.Exists(IOPath.Combine(folder, LockName)))
            {
                continue;
            }

            try
            {
                using (Own(folder, FileMode.Open))
                {
                    TryRemove(folder);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Its owner lives, or it is another user's.
            }
        }
    }

    private static void TryRemove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Left to whoever comes next.
        }
    }
}
