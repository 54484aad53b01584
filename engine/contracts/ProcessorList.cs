using System.Globalization;

namespace ScriptedServe.Contracts;

/// <summary>Processors as taskset(1) and cpuset(7) list them: numbers and ranges with commas between, as in 0,4-7.</summary>
public static class ProcessorList
{
    /// <summary>Numbers are below this.</summary>
    public const int MaxProcessors = 1024;

    /// <summary>Most of a list: an engine has one thread for each.</summary>
    private const int MaxListed = 256;

    /// <exception cref="FormatException">Says what is wrong.</exception>
    public static IReadOnlyList<int> Parse(string text)
    {
        var processors = new List<int>();
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            int[] ends = [.. part.Split('-', 2).Select(Number)];
            if (ends[^1] < ends[0])
            {
                throw new FormatException($"the range {part} ends before it begins");
            }

            processors.AddRange(Enumerable.Range(ends[0], ends[^1] - ends[0] + 1));
        }

        if (processors.GroupBy(processor => processor).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new FormatException($"processor {twice.Key} is listed twice");
        }

        return processors.Count <= MaxListed ? processors : throw new FormatException($"{processors.Count} processors are listed, at most {MaxListed} threads compute");
    }

    /// <summary>What <see cref="Parse"/> reads.</summary>
    public static string Format(IEnumerable<int> processors) => string.Join(',', processors.Select(processor => processor.ToString(CultureInfo.InvariantCulture)));

    private static int Number(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number < MaxProcessors
            ? number
            : throw new FormatException($"numbers from 0 to {MaxProcessors - 1} and ranges of them are expected, as in 0,4-7");
}
