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
    /// <summary>One past the last column it is about; 0 if that is not known.</summary>
    public int EndColumn { get; init; }

    /// <summary>The line it is about, as the author wrote it; null if it is about no line, or the text is not at hand.</summary>
    public string? Text { get; init; }

    /// <summary>What would put it right, where that can be told.</summary>
    public string? Hint { get; init; }

    public bool IsError => Severity == DiagnosticSeverity.Error;

    public override string ToString() =>
        $"{File}({Line},{Column}): {(IsError ? "error" : "warning")} {Id}: {Message}";

    /// <summary>This, with the line it is about.</summary>
    /// <param name="textOf">The text of a file by name, or null if it is not at hand.</param>
    public RouterDiagnostic Quoting(Func<string, string?> textOf) =>
        Text is null && Line > 0 && textOf(File)?.Split('\n') is { } lines && Line <= lines.Length ? this with { Text = lines[Line - 1].TrimEnd('\r') } : this;

    /// <summary>The message, then the line it is about with a mark under the columns, then the hint.</summary>
    public string Render() => Render(ToString(), Text, Column, EndColumn, Hint);

    /// <summary>As <see cref="Render()"/>, of a diagnostic that came over the wire.</summary>
    /// <param name="message">The first line.</param>
    /// <param name="mark">Puts marks and hints into the terminal's colours; null leaves them.</param>
    public static string Render(string message, string? line, int column, int endColumn, string? hint, Func<string, string>? mark = null)
    {
        mark ??= static text => text;
        var text = new StringBuilder(message);
        if (line is not null)
        {
            // Tabs are kept in the line below, so that the mark stands right whatever their width.
            text.Append("\n    ").Append(line).Append("\n    ");
            foreach (var c in line.AsSpan(0, Math.Clamp(column - 1, 0, line.Length)))
            {
                text.Append(c == '\t' ? '\t' : ' ');
            }

            text.Append(mark("^" + new string('~', Math.Clamp(Math.Min(endColumn, line.Length + 1) - column - 1, 0, line.Length))));
        }

        return hint is null ? text.ToString() : text.Append("\n    ").Append(mark("hint: ")).Append(hint).ToString();
    }
}
