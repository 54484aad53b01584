namespace ScriptedServe.Host.OpenAi;

/// <summary>
/// Cuts a text that comes in pieces before the first stop string that is complete in it; of several complete at the same character the
/// longest counts. The result does not depend on how the text is cut into pieces. Not thread-safe.
/// </summary>
internal sealed class StopMatcher(IReadOnlyList<string> stops)
{
    private readonly int _longest = stops.Count == 0 ? 0 : stops.Max(stop => stop.Length);
    private string _held = "";

    /// <summary>Nothing after this counts.</summary>
    public bool IsMatched { get; private set; }

    /// <summary>The text that is certain now: neither part of a stop string nor able to become the beginning of one.</summary>
    public string Push(string text)
    {
        if (stops.Count == 0 || text.Length == 0 || IsMatched)
        {
            return IsMatched ? "" : text;
        }

        var all = _held + text;
        for (var end = _held.Length + 1; end <= all.Length; end++)
        {
            if (LongestStopEndingIn(all.AsSpan(0, end)) is var length and > 0)
            {
                IsMatched = true;
                _held = "";
                return all[..(end - length)];
            }
        }

        var certain = all.Length - HeldLength(all);
        _held = all[certain..];
        return all[..certain];
    }

    /// <summary>What was held back, once no more text comes.</summary>
    public string Flush()
    {
        var rest = _held;
        _held = "";
        return rest;
    }

    private int LongestStopEndingIn(ReadOnlySpan<char> text)
    {
        var longest = 0;
        foreach (var stop in stops)
        {
            if (stop.Length > longest && text.EndsWith(stop, StringComparison.Ordinal))
            {
                longest = stop.Length;
            }
        }

        return longest;
    }

    /// <summary>Length of the longest end of the text that begins some stop string.</summary>
    private int HeldLength(string text)
    {
        for (var length = Math.Min(_longest - 1, text.Length); length > 0; length--)
        {
            var end = text.AsSpan(text.Length - length);
            foreach (var stop in stops)
            {
                if (stop.Length > length && stop.AsSpan().StartsWith(end, StringComparison.Ordinal))
                {
                    return length;
                }
            }
        }

        return 0;
    }
}
