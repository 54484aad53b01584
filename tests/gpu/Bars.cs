using System.Globalization;

namespace ScriptedServe.GpuChecks;

/// <summary>What the engine is to reach, and how often it did not: a bar that is missed is told, and is no wrong result.</summary>
internal sealed class Bars
{
    public int Missed { get; private set; }

    public string AtLeast(string line, double value, double bar, string unit) => Tell(line, value >= bar, $"at least {bar.ToString(CultureInfo.InvariantCulture)}{unit}");

    public string AtMost(string line, double value, double bar, string unit) => Tell(line, value <= bar, $"at most {bar.ToString(CultureInfo.InvariantCulture)} {unit}");

    private string Tell(string line, bool reached, string bar)
    {
        Missed += reached ? 0 : 1;
        return $"{line} ({(reached ? "reached" : "MISSED")}: {bar})";
    }
}
