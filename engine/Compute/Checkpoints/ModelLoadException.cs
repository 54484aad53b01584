namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// A model folder that cannot be served: missing, damaged, or of a kind that is not supported. The message names the file, what in it
/// (a key, a tensor), what was expected and what was found.
/// </summary>
public sealed class ModelLoadException(string file, string subject, string expected, string found, Exception? inner = null)
    : Exception($"{file}: {subject}: expected {expected}, found {found}", inner)
{
    /// <summary>Full path of the file (or folder) at fault.</summary>
    public string File { get; } = file;

    /// <summary>The key, tensor or part of the file at fault.</summary>
    public string Subject { get; } = subject;

    public string Expected { get; } = expected;

    public string Found { get; } = found;
}
