namespace ScriptedServe.Scripting.Runtime;

/// <summary>A script was stopped because it passed a limit: on time, depth, allocation or calls on engines.</summary>
public sealed class ScriptLimitException : Exception
{
    /// <summary>Creates the error.</summary>
    /// <param name="file">The script file that was running.</param>
    /// <param name="line">The line of the loop, jump or function that was stopped; from 1.</param>
    /// <param name="limit">What was exceeded, its value and the setting that changes it.</param>
    public ScriptLimitException(string file, int line, string limit)
        : base($"{file}({line}): stopped: {limit}")
    {
        File = file;
        Line = line;
    }

    /// <summary>Creates the error where the stack trace, not the thrower, knows the place.</summary>
    /// <param name="limit">What was exceeded, its value and the setting that changes it.</param>
    public ScriptLimitException(string limit)
        : base($"stopped: {limit}")
    {
        File = "";
    }

    /// <summary>The script file that was running; empty where the thrower did not know it.</summary>
    public string File { get; }

    /// <summary>The line of the loop, jump or function that was stopped, from 1; 0 where the thrower did not know it.</summary>
    public int Line { get; }
}
