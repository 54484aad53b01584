using System.Diagnostics;

namespace ScriptedServe.Host.Requests;

/// <summary>Says of an exception that a script threw where in the script it came from.</summary>
internal static class ScriptFailure
{
    /// <param name="router"><c>name@version</c>.</param>
    public static RouterFailedException Describe(string router, Exception thrown)
    {
        var where = new StackTrace(thrown, fNeedFileInfo: true).GetFrames()
            .Select(frame => (File: frame.GetFileName(), Line: frame.GetFileLineNumber()))
            .FirstOrDefault(frame => frame.File?.EndsWith(".csx", StringComparison.Ordinal) == true);
        var place = where.File is null ? "" : $" ({Path.GetFileName(where.File)}:{where.Line})";
        return new RouterFailedException($"Router {router} failed: {thrown.GetType().Name}: {thrown.Message}{place}", thrown);
    }
}
