namespace ScriptedServe.Scripting.Runtime;

/// <summary>A script was stopped because it ran too long, called itself too deeply or allocated too much between two awaits.</summary>
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

    /// <summary>The script file that was running.</summary>
    public string File { get; }

    /// <summary>The line of the loop, jump or function that was stopped; from 1.</summary>
    public int Line { get; }
}
