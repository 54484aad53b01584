namespace ScriptedServe.Host.Requests;

/// <summary>Several observers as one.</summary>
internal sealed class RequestObservers(params IRequestObserver[] all) : IRequestObserver
{
    public void CallEnded(SubCall call)
    {
        foreach (var observer in all)
        {
            observer.CallEnded(call);
        }
    }

    public void RequestEnded(string router, RequestTrace trace)
    {
        foreach (var observer in all)
        {
            observer.RequestEnded(router, trace);
        }
    }
}
