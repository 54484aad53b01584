using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Requests;

/// <summary>Says of an exception that a script threw whose it is and where in the script it came from.</summary>
internal static class ScriptFailure
{
    /// <param name="router"><c>name@version</c>.</param>
    public static RouterFailedException Describe(string router, Exception thrown) => new($"Router {router} failed: {ScriptErrors.Describe(thrown)}", thrown);
}
