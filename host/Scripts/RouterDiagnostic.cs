using System.Text;

namespace ScriptedServe.Host.Scripts;

public enum DiagnosticSeverity
{
    Warning,
    Error,
}

/// <summary>One thing a compile has to say about a script.</summary>
/// <param name="File">The file's name inside the scripts folder; that of a neighbour if it was <c>#load</c>ed.</param>
/// <param name="Line">From 1, in the author's text; 0 if it is about no line.</param>
/// <param name="Column">From 1; 0 if it is about no line.</param>
/// <param name="Id"><c>CS…</c> from the compiler, <c>SS…</c> from this host.</param>
public sealed record RouterDiagnostic(string File, int Line, int Column, string Id, DiagnosticSeverity Severity, string Message)
{
    public bool IsError => Severity == DiagnosticSeverity.Error;

    public override string ToString() =>
        $"{File}({Line},{Column}): {(IsError ? "error" : "warning")} {Id}: {Message}";

    /// <summary>The message, then the line it is about and a caret under the column.</summary>
    /// <param name="textOf">The text of a file by name, or null if it is not at hand.</param>
    public string Render(Func<string, string?> textOf)
    {
        var text = new StringBuilder(ToString());
        var lines = Line > 0 ? textOf(File)?.Split('\n') : null;
        if (lines is not null && Line <= lines.Length)
        {
            // Tabs are kept in the caret line, so that it stands right whatever their width.
            var quoted = lines[Line - 1].TrimEnd('\r');
            var before = quoted[..Math.Min(quoted.Length, Math.Max(0, Column - 1))];
            text.Append("\n    ").Append(quoted).Append("\n    ");
            foreach (var c in before)
            {
                text.Append(c == '\t' ? '\t' : ' ');
            }

            text.Append('^');
        }

        return text.ToString();
    }
}
