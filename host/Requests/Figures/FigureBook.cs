namespace ScriptedServe.Host.Requests.Figures;

/// <summary>
/// The figures of each router version that served lately, beside each other: counts since it was first seen, and what the last while looks
/// like. Bounded: of too many versions those that served longest ago are forgotten. Thread-safe.
/// </summary>
internal sealed class FigureBook(TimeProvider time, TimeSpan window, int most = FigureBook.MostVersions) : IRequestObserver
{
    public const int MostVersions = 256;

    private readonly Lock gate = new();
    private readonly Dictionary<string, VersionFigures> byLabel = new(StringComparer.Ordinal);

    public TimeSpan Window => window;

    public void CallEnded(SubCall call)
    {
    }

    public void RequestEnded(string router, RequestTrace trace)
    {
        VersionFigures? figures;
        lock (gate)
        {
            if (!byLabel.TryGetValue(trace.Router, out figures))
            {
                if (byLabel.Count >= most)
                {
                    byLabel.Remove(byLabel.MinBy(entry => entry.Value.LastUsed).Key);
                }

                byLabel[trace.Router] = figures = new VersionFigures(trace.Router, time, window);
            }

            figures.LastUsed = time.GetTimestamp();
        }

        figures.Add(RequestEnd.Of(trace));
    }

    /// <param name="label"><c>name@version</c>.</param>
    /// <returns>Null if none of its requests has ended lately.</returns>
    public VersionFigures? Find(string label)
    {
        lock (gate)
        {
            return byLabel.GetValueOrDefault(label);
        }
    }

    /// <summary>In the order of their labels.</summary>
    public IReadOnlyList<VersionFigures> All()
    {
        lock (gate)
        {
            return [.. byLabel.Values.OrderBy(figures => figures.Label, StringComparer.Ordinal)];
        }
    }
}

/// <summary>The figures of one version. Thread-safe.</summary>
internal sealed class VersionFigures(string label, TimeProvider time, TimeSpan length)
{
    private readonly Lock gate = new();
    private readonly FigureCounts total = new();
    private readonly FigureWindow window = new(time, length);

    /// <summary><c>name@version</c>.</summary>
    public string Label { get; } = label;

    internal long LastUsed { get; set; }

    public void Add(in RequestEnd end)
    {
        lock (gate)
        {
            total.Add(end);
        }

        window.Add(end);
    }

    /// <summary>Since the version was first seen; a copy.</summary>
    public FigureCounts Total()
    {
        lock (gate)
        {
            var copy = new FigureCounts();
            copy.Add(total);
            return copy;
        }
    }

    /// <summary>The last while, and the seconds it covers.</summary>
    public (FigureCounts Counts, double Seconds) Lately() => window.Read();
}
