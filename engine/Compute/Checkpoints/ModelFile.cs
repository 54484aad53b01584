namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>Looks at a file of a model folder before it is opened.</summary>
internal static class ModelFile
{
    /// <summary>The length of a file; see <see cref="Find"/>.</summary>
    public static long Length(string path, string kind) => Find(path, kind).Length;

    /// <summary>
    /// A file, behind links if it is one: the cache of downloaded models links to blobs elsewhere. Devices and pipes, which might never end or
    /// never answer, have length 0.
    /// </summary>
    /// <param name="kind">What is expected, for the error.</param>
    /// <exception cref="ModelLoadException">No such file; a link to nothing or to itself; a folder.</exception>
    public static FileInfo Find(string path, string kind)
    {
        try
        {
            var file = new FileInfo(path);
            if (file.ResolveLinkTarget(returnFinalTarget: true) is { } target)
            {
                file = new FileInfo(target.FullName);
            }

            return file.Exists ? file : throw new ModelLoadException(path, "file", kind, "no such file");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ModelLoadException(path, "file", kind, error is FileNotFoundException or DirectoryNotFoundException ? "no such file" : error.Message, error);
        }
    }
}
