using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace ScriptedServe.Host.Logging;

/// <summary>
/// A log line as <c>time level category: message</c>. Further lines of a message stay lines, indented: a compiler's error quotes the
/// script with a caret below, which one long line would tear apart.
/// </summary>
internal sealed class LineFormatter(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "lines";
    private const string Prefix = "ScriptedServe.";
    private const string Indent = "    ";

    public override void Write<TState>(in LogEntry<TState> entry, IExternalScopeProvider? scopeProvider, TextWriter output)
    {
        var message = entry.Formatter(entry.State, entry.Exception);
        if (entry.Exception is not null)
        {
            message = $"{message}\n{entry.Exception}";
        }

        output.Write(time.GetLocalNow().ToString("HH:mm:ss ", CultureInfo.InvariantCulture));
        output.Write(entry.LogLevel switch
        {
            LogLevel.Trace => "trace ",
            LogLevel.Debug => "debug ",
            LogLevel.Information => "info  ",
            LogLevel.Warning => "warn  ",
            _ => "error ",
        });
        output.Write(entry.Category.StartsWith(Prefix, StringComparison.Ordinal) ? entry.Category.AsSpan(Prefix.Length) : entry.Category);
        output.Write(": ");
        output.WriteLine(message.ReplaceLineEndings(Environment.NewLine + Indent));
    }
}
