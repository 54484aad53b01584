using System.Globalization;

namespace ScriptedServe.DataPathBenchmarks;

/// <summary>Gathers samples by row and column, and prints their medians.</summary>
internal sealed class Report
{
    private readonly List<(string Row, string Column, double Value)> _samples = [];

    public void Add(string row, string column, double value) => _samples.Add((row, column, value));

    public double? Median(string row, string column)
    {
        double[] sorted = [.. _samples.Where(sample => sample.Row == row && sample.Column == column).Select(sample => sample.Value).Order()];
        return sorted.Length == 0 ? null : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>A table of medians, in the order in which rows and columns came first.</summary>
    public void Print(string title)
    {
        if (_samples.Count == 0)
        {
            return;
        }

        string[] columns = [.. _samples.Select(sample => sample.Column).Distinct()];
        Console.WriteLine();
        Console.WriteLine($"| {title} | {string.Join(" | ", columns)} |");
        Console.WriteLine($"|---|{string.Concat(columns.Select(_ => "---|"))}");
        foreach (var row in _samples.Select(sample => sample.Row).Distinct())
        {
            Console.WriteLine($"| {row} | {string.Join(" | ", columns.Select(column => Show(Median(row, column))))} |");
        }
    }

    private static string Show(double? value) => value switch
    {
        null => "",
        >= 100 or <= -100 => value.Value.ToString("N0", CultureInfo.InvariantCulture),
        _ => value.Value.ToString("0.00", CultureInfo.InvariantCulture),
    };
}
