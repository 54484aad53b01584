using System.Globalization;
using ScriptedServe.Engine.Compute.Cpu;

namespace ScriptedServe.Engine.Options;

/// <summary>Processors as taskset(1) and cpuset(7) list them: numbers and ranges with commas between, as in 0,4-7.</summary>
internal static class ProcessorList
{
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

        return processors.Count <= 256 ? processors : throw new FormatException($"{processors.Count} processors are listed, at most 256 threads compute");
    }

    private static int Number(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number < ThreadAffinity.MaxProcessors
            ? number
            : throw new FormatException($"numbers from 0 to {ThreadAffinity.MaxProcessors - 1} and ranges of them are expected, as in 0,4-7");
}
