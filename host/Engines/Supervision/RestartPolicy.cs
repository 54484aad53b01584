namespace ScriptedServe.Host.Engines.Supervision;

/// <summary>When a local engine is started again, and for how long its start may take.</summary>
public sealed record SupervisionSettings
{
    /// <summary>For a started engine to answer; and the longest silence of a running one before it is killed. <c>--engine-start-timeout</c>, default 120 s.</summary>
    public TimeSpan AnswerTimeout { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>A process that ran shorter than this died at once. Default 10 s.</summary>
    public TimeSpan QuickDeath { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Quick deaths in a row after which an engine is given up. Default 5.</summary>
    public int QuickDeathsAllowed { get; init; } = 5;

    /// <summary>Wait before the first restart; doubled with each further quick death. Defaults 0.5 s, at most 30 s.</summary>
    public TimeSpan FirstWait { get; init; } = TimeSpan.FromMilliseconds(500);

    public TimeSpan LongestWait { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Between asking a process to end and killing it. Default 5 s.</summary>
    public TimeSpan StopGrace { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>Decides on restarts from how long each process ran. Not thread-safe.</summary>
internal sealed class RestartPolicy(SupervisionSettings settings)
{
    private int quickDeaths;

    /// <summary>The wait before the next start, or null if the engine is to be given up.</summary>
    public TimeSpan? Died(TimeSpan ranFor)
    {
        quickDeaths = ranFor < settings.QuickDeath ? quickDeaths + 1 : 0;
        if (quickDeaths >= settings.QuickDeathsAllowed)
        {
            return null;
        }

        var wait = settings.FirstWait * Math.Pow(2, Math.Max(0, quickDeaths - 1));
        return wait < settings.LongestWait ? wait : settings.LongestWait;
    }

    /// <summary>An operator's restart wipes the slate.</summary>
    public void Reset() => quickDeaths = 0;
}
