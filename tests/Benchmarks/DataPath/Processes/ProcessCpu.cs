using System.Globalization;

namespace ScriptedServe.DataPathBenchmarks.Processes;

/// <summary>CPU time of processes, user and system, from /proc.</summary>
internal static class ProcessCpu
{
    /// <summary>USER_HZ, which is 100 wherever Linux runs .NET.</summary>
    private const double TicksPerSecond = 100;

    public static double Seconds(IEnumerable<int> pids) => pids.Sum(pid =>
    {
        var fields = Fields(pid);
        return (long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture)) / TicksPerSecond;
    });

    public static IReadOnlyList<int> Children(int parent) => [.. Directory.GetDirectories("/proc")
        .Select(folder => int.TryParse(Path.GetFileName(folder), out var pid) ? pid : 0)
        .Where(pid => pid > 0 && File.Exists($"/proc/{pid}/stat") && Fields(pid)[1] == parent.ToString(CultureInfo.InvariantCulture))];

    /// <summary>What follows the command's name: state, parent, ...</summary>
    private static string[] Fields(int pid)
    {
        var stat = File.ReadAllText($"/proc/{pid}/stat");
        return stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
    }
}
