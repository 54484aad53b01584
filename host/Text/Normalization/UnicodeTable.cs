using System.Globalization;

namespace ScriptedServe.Host.Text.Normalization;

/// <summary>
/// Decompositions, compositions and combining classes of the Unicode Character Database, as far as they are of Unicode 9. The runtime's own string.Normalize
/// does nothing without ICU, which this program does not ask of its machine.
/// </summary>
internal sealed class UnicodeTable
{
    private static readonly Lazy<UnicodeTable> Loaded = new(Read);

    private readonly Dictionary<int, int[]> canonical = [];
    private readonly Dictionary<int, int[]> compatibility = [];
    private readonly Dictionary<long, int> compositions = [];
    private readonly Dictionary<int, byte> combiningClasses = [];
    private readonly HashSet<int> newMarks = [];

    private UnicodeTable()
    {
    }

    public static UnicodeTable Instance => Loaded.Value;

    /// <summary>0 for a starter.</summary>
    public byte CombiningClass(int codePoint) => codePoint < 0x300 ? (byte)0 : combiningClasses.GetValueOrDefault(codePoint);

    /// <summary>Whether the code point became a mark only after the version of Unicode that tokenizers normalize by.</summary>
    public bool IsNewMark(int codePoint) => newMarks.Contains(codePoint);

    /// <summary>The full decomposition, in canonical order, or null where the code point stands for itself. Hangul is not in the table.</summary>
    public int[]? Decomposition(int codePoint, bool compatible) => (compatible ? compatibility : canonical).GetValueOrDefault(codePoint);

    /// <summary>The primary composite of a pair, Hangul left out.</summary>
    public bool TryCompose(int first, int second, out int composite) => compositions.TryGetValue(Pair(first, second), out composite);

    private static long Pair(int first, int second) => ((long)first << 32) | (uint)second;

    private static UnicodeTable Read()
    {
        const string Name = "ScriptedServe.Host.Text.Normalization.decompositions.txt";
        using var stream = typeof(UnicodeTable).Assembly.GetManifestResourceStream(Name) ?? throw new InvalidOperationException($"The assembly lacks its resource {Name}.");
        using var reader = new StreamReader(stream);
        var table = new UnicodeTable();
        var canonicalSteps = new Dictionary<int, int[]>();
        var allSteps = new Dictionary<int, int[]>();
        while (reader.ReadLine() is { } line)
        {
            if (line.StartsWith('#'))
            {
                continue;
            }

            foreach (var entry in line.Split(';', StringSplitOptions.RemoveEmptyEntries))
            {
                table.Add(entry, canonicalSteps, allSteps);
            }
        }

        foreach (var codePoint in allSteps.Keys)
        {
            table.compatibility[codePoint] = Expand(codePoint, allSteps);
            if (canonicalSteps.ContainsKey(codePoint))
            {
                table.canonical[codePoint] = Expand(codePoint, canonicalSteps);
            }
        }

        return table;
    }

    private void Add(string entry, Dictionary<int, int[]> canonicalSteps, Dictionary<int, int[]> allSteps)
    {
        var at = entry.AsSpan().IndexOfAny(":=!~%");
        var (left, right) = (entry[..at], entry[(at + 1)..]);
        if (entry[at] is ':' or '%')
        {
            var dash = left.IndexOf('-', StringComparison.Ordinal);
            for (var codePoint = Hex(left[..dash]); codePoint <= Hex(left[(dash + 1)..]); codePoint++)
            {
                if (entry[at] == '%')
                {
                    newMarks.Add(codePoint);
                }
                else
                {
                    combiningClasses[codePoint] = byte.Parse(right, CultureInfo.InvariantCulture);
                }
            }

            return;
        }

        var mapping = right.Split(' ').Select(Hex).ToArray();
        allSteps[Hex(left)] = mapping;
        if (entry[at] != '~')
        {
            canonicalSteps[Hex(left)] = mapping;
        }

        if (entry[at] == '=')
        {
            compositions[Pair(mapping[0], mapping[1])] = Hex(left);
        }
    }

    private static int[] Expand(int codePoint, Dictionary<int, int[]> steps) =>
        steps.TryGetValue(codePoint, out var mapping) ? [.. mapping.SelectMany(part => Expand(part, steps))] : [codePoint];

    private static int Hex(string text) => int.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
