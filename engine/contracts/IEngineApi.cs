using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Contracts;

/// <summary>
/// The microserving calls of one engine, as a caller sees them: over the wire, in process, or simulated.
/// Every method fails with <see cref="RpcException"/> and nothing else, cancellation by the caller's own token aside.
/// Cancelling a call releases what the call holds on the engine; a reservation that PrepRecv has answered lives on until
/// Release, Abort or the end of its lease.
/// </summary>
public interface IEngineApi
{
    Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken);

    Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken);

    /// <summary>Chunks in order; the last one, and only it, has a finish reason. A chunk is the caller's until it asks for the next one: who keeps it copies it.</summary>
    IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken);

    /// <summary>As <see cref="StartGenerateAsync"/>, for callers that have no use for a message of each token.</summary>
    IAsyncEnumerable<GenerateItem> StreamGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) =>
        GenerateItem.OfAsync(StartGenerateAsync(request, cancellationToken), cancellationToken);

    Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken);

    Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken);

    Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken);

    IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, CancellationToken cancellationToken);

    Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken);
}
