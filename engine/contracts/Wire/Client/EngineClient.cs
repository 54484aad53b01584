using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>
/// An engine reached over the wire. Connections are made when needed, shared by all calls and renewed after a failure. Thread-safe.
/// Disposing it ends the calls under way. Who awaits PrepRecv, RemoteSend or the items of StreamGenerate goes on on the thread that reads the connection, and must neither block it nor compute for long.
/// </summary>
public sealed class EngineClient(EngineAddress address, EngineClientOptions options, TimeProvider time) : IEngineApi, IDisposable
{
    private readonly RpcChannel _channel = new(address, options, time);
    private readonly EngineDeadlines _deadlines = options.Deadlines;

    public EngineAddress Address { get; } = address;

    public Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken) =>
        _channel.UnaryAsync(EngineMethods.PrepRecv, request, PrepRecvReply.Parser, _deadlines.PrepRecv, cancellationToken, isHostRead: true);

    public Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken) =>
        _channel.UnaryAsync(EngineMethods.RemoteSend, request, RemoteSendReply.Parser, _deadlines.RemoteSend, cancellationToken, isHostRead: true);

    public IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) =>
        _channel.ServerStreamingAsync(EngineMethods.StartGenerate, request, GenerateChunk.Parser, _deadlines.StartGenerate, cancellationToken);

    public IAsyncEnumerable<GenerateItem> StreamGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) =>
        _channel.GenerateAsync(EngineMethods.StartGenerate, request, _deadlines.StartGenerate, cancellationToken);

    public Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken) =>
        _channel.UnaryAsync(EngineMethods.Release, request, ReleaseReply.Parser, _deadlines.Release, cancellationToken);

    public Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken) =>
        _channel.UnaryAsync(EngineMethods.Abort, request, AbortReply.Parser, _deadlines.Abort, cancellationToken);

    public Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken) =>
        _channel.UnaryAsync(EngineMethods.GetStatus, request, EngineStatus.Parser, _deadlines.GetStatus, cancellationToken);

    public IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, CancellationToken cancellationToken) =>
        _channel.ServerStreamingAsync(EngineMethods.WatchStatus, request, EngineStatus.Parser, _deadlines.WatchStatus, cancellationToken);

    public Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken) =>
        _channel.UnaryAsync(EngineMethods.Drain, request, DrainReply.Parser, _deadlines.Drain, cancellationToken);

    public void Dispose() => _channel.Dispose();
}
