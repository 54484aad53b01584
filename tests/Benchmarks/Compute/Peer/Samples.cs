using System.Globalization;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>Tokens a second of one kind of work: of the repetitions of all rounds, so far.</summary>
internal sealed class Samples
{
    private readonly List<double> _values = [];

    public void Add(IEnumerable<double> values) => _values.AddRange(values);

    public bool Any => _values.Count > 0;

    public double Best => _values.Max();

    public double Median
    {
        get
        {
            double[] sorted = [.. _values.Order()];
            return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
        }
    }

    /// <summary>Median and best.</summary>
    public override string ToString() => Any ? $"{Show(Median)} ({Show(Best)})" : "";

    public static string Show(double value) => value.ToString(value >= 100 ? "F0" : value >= 10 ? "F1" : "F2", CultureInfo.InvariantCulture);
}
