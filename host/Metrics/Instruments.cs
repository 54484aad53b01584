using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace ScriptedServe.Host.Metrics;

/// <summary>A quantity that Prometheus reads. Carries its meaning beside its name. Thread-safe.</summary>
/// <param name="name">With its unit, as in <c>_seconds</c>.</param>
/// <param name="help">What it means, for a person.</param>
/// <param name="labels">Names of the labels; values are given in the same order.</param>
internal abstract class Instrument(string name, string help, string type, params string[] labels)
{
    protected string Name { get; } = name;

    /// <summary>Appends the exposition text (format 0.0.4).</summary>
    public void Write(StringBuilder text)
    {
        text.Append("# HELP ").Append(Name).Append(' ').Append(help).Append('\n');
        text.Append("# TYPE ").Append(Name).Append(' ').Append(type).Append('\n');
        WriteSamples(text);
    }

    protected abstract void WriteSamples(StringBuilder text);

    protected void WriteSample(StringBuilder text, string suffix, string[] values, double value, string? bucket = null)
    {
        text.Append(Name).Append(suffix);
        if (labels.Length > 0 || bucket is not null)
        {
            text.Append('{');
            for (var i = 0; i < labels.Length; i++)
            {
                text.Append(i > 0 ? "," : "").Append(labels[i]).Append("=\"").Append(Escape(values[i])).Append('"');
            }

            if (bucket is not null)
            {
                text.Append(labels.Length > 0 ? "," : "").Append("le=\"").Append(bucket).Append('"');
            }

            text.Append('}');
        }

        text.Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
    }

    private static string Escape(string value) =>
        value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
}

/// <summary>Label values as one key.</summary>
internal readonly struct LabelValues(string[] values) : IEquatable<LabelValues>
{
    public string[] Values { get; } = values;

    public bool Equals(LabelValues other) => Values.AsSpan().SequenceEqual(other.Values);

    public override bool Equals(object? obj) => obj is LabelValues other && Equals(other);

    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (var value in Values)
        {
            hash.Add(value, StringComparer.Ordinal);
        }

        return hash.ToHashCode();
    }
}

/// <summary>Only rises.</summary>
internal sealed class Counter(string name, string help, params string[] labels) : Instrument(name, help, "counter", labels)
{
    private readonly ConcurrentDictionary<LabelValues, StrongBox> counts = new();

    public void Add(long amount, params string[] values)
    {
        var box = counts.GetOrAdd(new LabelValues(values), static _ => new StrongBox());
        Interlocked.Add(ref box.Count, amount);
    }

    protected override void WriteSamples(StringBuilder text)
    {
        foreach (var (values, box) in counts.OrderBy(entry => string.Join('|', entry.Key.Values), StringComparer.Ordinal))
        {
            WriteSample(text, "", values.Values, Interlocked.Read(ref box.Count));
        }
    }

    private sealed class StrongBox
    {
        public long Count;
    }
}

/// <summary>Asked for when it is read.</summary>
/// <param name="read">All samples now: label values and value.</param>
internal sealed class Gauge(string name, string help, Func<IEnumerable<(string[] Values, double Value)>> read, params string[] labels)
    : Sampled(name, help, "gauge", read, labels);

/// <summary>Counted elsewhere, and asked for when it is read.</summary>
/// <param name="read">All samples now: label values and value.</param>
internal sealed class SampledCounter(string name, string help, Func<IEnumerable<(string[] Values, double Value)>> read, params string[] labels)
    : Sampled(name, help, "counter", read, labels);

internal abstract class Sampled(string name, string help, string type, Func<IEnumerable<(string[] Values, double Value)>> read, params string[] labels)
    : Instrument(name, help, type, labels)
{
    protected override void WriteSamples(StringBuilder text)
    {
        foreach (var (values, value) in read())
        {
            WriteSample(text, "", values, value);
        }
    }
}

/// <summary>Observations counted by upper bound.</summary>
/// <param name="bounds">Rising; the infinite bucket is added.</param>
internal sealed class Histogram(string name, string help, double[] bounds, params string[] labels) : Instrument(name, help, "histogram", labels)
{
    private readonly ConcurrentDictionary<LabelValues, Series> series = new();

    public void Observe(double value, params string[] values)
    {
        var one = series.GetOrAdd(new LabelValues(values), _ => new Series(bounds.Length + 1));
        var bucket = Array.BinarySearch(bounds, value);
        lock (one)
        {
            one.Counts[bucket < 0 ? ~bucket : bucket]++;
            one.Sum += value;
        }
    }

    protected override void WriteSamples(StringBuilder text)
    {
        foreach (var (values, one) in series.OrderBy(entry => string.Join('|', entry.Key.Values), StringComparer.Ordinal))
        {
            lock (one)
            {
                var cumulative = 0L;
                for (var i = 0; i <= bounds.Length; i++)
                {
                    cumulative += one.Counts[i];
                    WriteSample(text, "_bucket", values.Values, cumulative, i < bounds.Length ? bounds[i].ToString("R", CultureInfo.InvariantCulture) : "+Inf");
                }

                WriteSample(text, "_sum", values.Values, one.Sum);
                WriteSample(text, "_count", values.Values, cumulative);
            }
        }
    }

    private sealed class Series(int buckets)
    {
        public long[] Counts { get; } = new long[buckets];

        public double Sum { get; set; }
    }
}
