namespace ScriptedServe.Host.Commands;

/// <summary>Columns of text, each as wide as its widest cell. The last is not padded.</summary>
internal sealed class Table(params string[] headers)
{
    private readonly List<string[]> rows = [headers];

    public void Add(params object?[] cells) => rows.Add([.. cells.Select(cell => Convert.ToString(cell, System.Globalization.CultureInfo.InvariantCulture) ?? "")]);

    public void Write(TextWriter to)
    {
        var widths = Enumerable.Range(0, headers.Length).Select(column => rows.Max(row => row[column].Length)).ToArray();
        foreach (var row in rows)
        {
            to.WriteLine(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        }
    }
}
