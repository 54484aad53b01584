using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>Takes down whole requests, with their replies. Must be quick and must not throw.</summary>
internal interface IRequestRecorder
{
    /// <summary>Asked when a request begins, before its script is called.</summary>
    /// <param name="router">The name, and the version that serves the request.</param>
    /// <returns>Null for a request that is not taken down.</returns>
    IRequestRecording? Begin((string Name, int Version) router, RequestSpec spec, HostRequest request);
}

/// <summary>One request that is taken down.</summary>
internal interface IRequestRecording
{
    void Emitted(Chunk chunk);

    /// <summary>Called when the trace is settled.</summary>
    void Ended(RequestTrace trace);
}
