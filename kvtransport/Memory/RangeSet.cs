namespace ScriptedServe.KvTransport.Memory;

/// <summary>A set of token positions, as sorted half-open ranges that neither overlap nor touch.</summary>
internal sealed class RangeSet
{
    private readonly List<(int Begin, int End)> _ranges = [];

    /// <summary>Positions in the set.</summary>
    public int Count { get; private set; }

    public IReadOnlyList<(int Begin, int End)> Ranges => _ranges;

    public void Add(int begin, int end)
    {
        if (end <= begin)
        {
            return;
        }

        // All ranges that overlap or touch [begin, end) become one with it.
        var first = _ranges.FindIndex(range => range.End >= begin);
        first = first < 0 ? _ranges.Count : first;
        var last = first;
        while (last < _ranges.Count && _ranges[last].Begin <= end)
        {
            (begin, end) = (Math.Min(begin, _ranges[last].Begin), Math.Max(end, _ranges[last].End));
            Count -= _ranges[last].End - _ranges[last].Begin;
            last++;
        }

        _ranges.RemoveRange(first, last - first);
        _ranges.Insert(first, (begin, end));
        Count += end - begin;
    }

    public bool Covers(int begin, int end) => end <= begin || _ranges.Exists(range => range.Begin <= begin && end <= range.End);
}
