namespace ScriptedServe.Host.Engines;

/// <summary>Which engines may join, and how long the host waits for them.</summary>
public sealed record FleetSettings
{
    /// <summary>For PrepRecv and RemoteSend to answer, and between two chunks of StartGenerate. <c>--call-timeout</c>, default 120 s.</summary>
    public TimeSpan CallTimeout { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>For Release, Abort and GetStatus, which do no work on the engine. Default 5 s.</summary>
    public TimeSpan ControlTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Least time between two status reports of an engine. Default 100 ms.</summary>
    public TimeSpan StatusInterval { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Silence of the status stream after which the engine is asked directly. Default 5 s.</summary>
    public TimeSpan StatusSilence { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>First and longest wait between attempts to reach an engine again. Defaults 100 ms and 5 s.</summary>
    public TimeSpan ReconnectFirst { get; init; } = TimeSpan.FromMilliseconds(100);

    public TimeSpan ReconnectLongest { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Models that may be served beside the host's own, with the same tokenizer. <c>--also-model</c>, default none.</summary>
    public IReadOnlyCollection<string> AlsoModels { get; init; } = [];

    /// <summary>For an engine to finish what runs when asked to drain. Default 10 min.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromMinutes(10);
}
