namespace ScriptedServe.Host.Requests;

/// <summary>How much is kept of requests for <c>/admin/requests</c>.</summary>
public sealed record TraceSettings
{
    public static TraceSettings Default { get; } = new();

    /// <summary>Ended requests that are kept (default 2000; 0 to 1000000). Setting: trace-requests.</summary>
    public int Requests { get; init; } = 2000;

    /// <summary>Memory of ended requests, bytes, about (default 32 MiB; 1 MiB to 16 GiB). Setting: trace-mib.</summary>
    public long Bytes { get; init; } = 32 << 20;

    /// <summary>Decisions and log lines of a script kept for one request; 0 keeps none and costs nothing (default 64; 0 to 10000). Setting: trace-entries.</summary>
    public int Entries { get; init; } = 64;

    /// <summary>Longest log line or error text that is kept, characters (default 500; 16 to 100000). Setting: trace-line-chars.</summary>
    public int LineChars { get; init; } = 500;
}
