namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>How an engine is called.</summary>
public sealed record EngineClientOptions
{
    /// <summary>Sent as <c>authorization: Bearer …</c>. None by default.</summary>
    public string? BearerToken { get; init; }

    /// <summary>Largest reply message in bytes; 16 MiB by default. A larger one is RESOURCE_EXHAUSTED.</summary>
    public int MaxMessageBytes { get; init; } = 16 << 20;

    /// <summary>How long connecting may take; 5 s by default.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>With calls under way, a connection silent for this long is pinged; 10 s by default.</summary>
    public TimeSpan PingDelay { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>A ping unanswered for this long ends the connection, and its calls with UNAVAILABLE; 10 s by default.</summary>
    public TimeSpan PingTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Measures the connections' own times: connecting, silence, pings. Real time by default, also where deadlines are of a virtual clock: sockets are real.
    /// </summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>How long each kind of call may take; none by default.</summary>
    public EngineDeadlines Deadlines { get; init; } = new();
}

/// <summary>How long each kind of call may take, from its start to its last reply; null is without limit. A call past it fails with DEADLINE_EXCEEDED.</summary>
public sealed record EngineDeadlines
{
    public TimeSpan? PrepRecv { get; init; }

    public TimeSpan? RemoteSend { get; init; }

    public TimeSpan? StartGenerate { get; init; }

    public TimeSpan? Release { get; init; }

    public TimeSpan? Abort { get; init; }

    public TimeSpan? GetStatus { get; init; }

    public TimeSpan? WatchStatus { get; init; }

    public TimeSpan? Drain { get; init; }
}
