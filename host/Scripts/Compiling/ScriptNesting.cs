namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Refuses text that is nested so deeply that the compiler would overflow its stack, which would end the host. The compiler guards its
/// expressions and statements itself, but not its look-ahead over types and tuples, nor the inside of interpolated strings.
/// </summary>
internal static class ScriptNesting
{
    public const int MaxDepth = 256;

    /// <summary>The line at which brackets, or angle brackets within a statement, are nested too deeply, or null.</summary>
    /// <remarks>Counts characters, strings and comments included: a tokenizer would itself recurse.</remarks>
    public static int? TooDeepAt(ReadOnlySpan<char> text)
    {
        var (line, depth, angles) = (1, 0, 0);
        foreach (var c in text)
        {
            switch (c)
            {
                case '\n':
                    line++;
                    break;
                case '(' or '[' or '{':
                    depth++;
                    break;
                case ')' or ']' or '}':
                    depth = Math.Max(0, depth - 1);
                    break;
                case '<':
                    angles++;
                    break;
                case '>':
                    angles = Math.Max(0, angles - 1);
                    break;
                case ';':
                    angles = 0;
                    break;
            }

            if (depth > MaxDepth || angles > MaxDepth)
            {
                return line;
            }
        }

        return null;
    }
}
