namespace ScriptedServe.Host.Requests;

/// <summary>Told of requests as they go; the metrics are one. Must be quick and must not throw.</summary>
internal interface IRequestObserver
{
    void CallEnded(SubCall call);

    /// <param name="router">Name without version.</param>
    void RequestEnded(string router, RequestTrace trace);
}
