using System.Globalization;

namespace ScriptedServe.Contracts.Wire;

/// <summary>The value of <c>grpc-timeout</c>: at most eight digits and a unit.</summary>
internal static class RpcTimeout
{
    private const long LargestValue = 99_999_999;

    /// <summary>Longer deadlines than this are treated as none: timers do not reach further.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromDays(30);

    private static readonly (char Unit, double Ticks)[] s_units =
    [
        ('n', TimeSpan.TicksPerMicrosecond / 1000.0),
        ('u', TimeSpan.TicksPerMicrosecond),
        ('m', TimeSpan.TicksPerMillisecond),
        ('S', TimeSpan.TicksPerSecond),
        ('M', TimeSpan.TicksPerMinute),
        ('H', TimeSpan.TicksPerHour),
    ];

    /// <summary>The finest unit that holds the value; rounded up, so that the peer never gives up first.</summary>
    public static string Format(TimeSpan timeout)
    {
        var ticks = Math.Max(timeout.Ticks, 0);
        foreach (var (unit, unitTicks) in s_units)
        {
            var value = Math.Ceiling(ticks / unitTicks);
            if (value <= LargestValue)
            {
                return ((long)value).ToString(CultureInfo.InvariantCulture) + unit;
            }
        }

        return $"{LargestValue}H";
    }

    public static bool TryParse(string text, out TimeSpan timeout)
    {
        timeout = default;
        if (text.Length is < 2 or > 9 || !long.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.None, CultureInfo.InvariantCulture, out var value))
        {
            return false;
        }

        foreach (var (unit, unitTicks) in s_units)
        {
            if (unit == text[^1])
            {
                timeout = TimeSpan.FromTicks((long)Math.Ceiling(value * unitTicks));
                return true;
            }
        }

        return false;
    }
}
