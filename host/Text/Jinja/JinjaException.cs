namespace ScriptedServe.Host.Text.Jinja;

/// <summary>A template does not parse or does not render. The line is filled in where the error passes the statement it came from.</summary>
internal sealed class JinjaException(string message, int? line = null) : Exception(message)
{
    /// <summary>Counted from 1; null until known.</summary>
    public int? Line { get; set; } = line;
}
