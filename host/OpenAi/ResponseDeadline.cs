namespace ScriptedServe.Host.OpenAi;

/// <summary>
/// Ends the connection of a client that does not take its response: a write waits as long as the client does not read, and a request whose
/// time is over could not even be told so. The grace is for those who do read and are to get the error.
/// </summary>
internal sealed class ResponseDeadline : IDisposable
{
    /// <summary>From the end of the request's time to the end of its connection.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(10);

    private readonly ITimer timer;

    public ResponseDeadline(HttpContext context, TimeProvider time, TimeSpan requestTimeout) =>
        timer = time.CreateTimer(static context => ((HttpContext)context!).Abort(), context, requestTimeout + Grace, Timeout.InfiniteTimeSpan);

    public void Dispose() => timer.Dispose();
}
