using System.Diagnostics;
using System.Reflection;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>Tells where in a script an exception came from.</summary>
public static class ScriptErrors
{
    /// <summary>The innermost line of a script the exception passed through, or null. Reads debug information: not for hot paths.</summary>
    public static (string File, int Line)? Locate(Exception exception)
    {
        for (var e = Unwrap(exception); e is not null; e = e.InnerException)
        {
            if (e is ScriptLimitException { Line: > 0 } limit)
            {
                return (limit.File, limit.Line);
            }

            foreach (var frame in new StackTrace(e, fNeedFileInfo: true).GetFrames())
            {
                if (frame.GetFileName() is { } file && file.EndsWith(".csx", StringComparison.Ordinal) && frame.GetFileLineNumber() > 0)
                {
                    return (file, frame.GetFileLineNumber());
                }
            }
        }

        return null;
    }

    /// <summary>The message with <c>file(line):</c> before it where that is known.</summary>
    public static string Describe(Exception exception)
    {
        var cause = Unwrap(exception);
        var what = $"{(cause is ScriptLimitException ? "" : cause.GetType().Name + ": ")}{cause.Message}";
        return cause is not ScriptLimitException { Line: > 0 } && Locate(exception) is var (file, line) ? $"{file}({line}): {what}" : what;
    }

    /// <summary>What the script threw, without the wrappers that reflection and static initialisers put around it.</summary>
    public static Exception Unwrap(Exception exception) =>
        exception is TargetInvocationException or TypeInitializationException or AggregateException { InnerExceptions.Count: 1 } && exception.InnerException is { } inner
            ? Unwrap(inner)
            : exception;
}
