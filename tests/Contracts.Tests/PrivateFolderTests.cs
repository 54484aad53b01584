namespace ScriptedServe.Contracts.Tests;

public sealed class PrivateFolderTests : IDisposable
{
    private readonly string _parent = Directory.CreateTempSubdirectory("scriptedserve-test-").FullName;

    [Fact]
    public void It_is_its_users_alone_and_goes_with_what_is_in_it()
    {
        string path;
        using (var folder = PrivateFolder.Create(_parent))
        {
            path = folder.Path;
            File.WriteAllText(Path.Combine(path, "a.sock"), "");
            if (!OperatingSystem.IsWindows())
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(path));
            }
        }

        Assert.False(Directory.Exists(path));
    }

    [Fact]
    public void One_left_by_a_killed_process_is_removed_and_one_in_use_is_not()
    {
        // What a kill leaves: the lock's file, and nobody who holds it.
        var abandoned = Directory.CreateDirectory(Path.Combine(_parent, "scriptedserve-killed")).FullName;
        File.WriteAllText(Path.Combine(abandoned, "owner.lock"), "");
        File.WriteAllText(Path.Combine(abandoned, "a.sock"), "");
        var others = Directory.CreateDirectory(Path.Combine(_parent, "scriptedserve-others")).FullName;

        using var first = PrivateFolder.Create(_parent);
        using var second = PrivateFolder.Create(_parent);

        Assert.False(Directory.Exists(abandoned));
        Assert.True(Directory.Exists(others));
        Assert.True(Directory.Exists(first.Path));
        Assert.NotEqual(first.Path, second.Path);
    }

    public void Dispose() => Directory.Delete(_parent, recursive: true);
}
