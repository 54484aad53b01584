using System.Collections.Concurrent;
using Google.Protobuf;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire.Client.Http2;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>
/// Calls methods of one server by the gRPC-over-HTTP/2 protocol. Calls fail with <see cref="RpcException"/> whatever the cause, and
/// with <see cref="OperationCanceledException"/> when the caller's own token is cancelled. Ending a call early resets its stream.
/// </summary>
internal sealed class RpcChannel(EngineAddress address, EngineClientOptions options, TimeProvider time) : IDisposable
{
    private readonly ConcurrentDictionary<string, byte[]> _headers = new();
    private readonly string _authority = address.SocketPath is null ? new Uri(address.ToString()).Authority : "localhost";

    public EngineAddress Address { get; } = address;

    /// <summary>Measures deadlines.</summary>
    public TimeProvider Time { get; } = time;

    public FrameRules Frames { get; } = FrameRules.ForClient(options.MaxMessageBytes);

    public ConnectionSet Connections { get; } = new(address, options);

    /// <summary>The header block of calls of a path.</summary>
    public byte[] HeadersOf(string path) =>
        _headers.GetOrAdd(path, static (path, channel) => RequestHeaders.Of(path, channel._authority, channel.Authorization), this);

    private string? Authorization { get; } = options.BearerToken is null ? null : "Bearer " + options.BearerToken;

    /// <param name="isHostRead">See <see cref="RpcCall{T}"/>.</param>
    public async Task<TReply> UnaryAsync<TReply>(
        string path, IMessage request, MessageParser<TReply> parser, TimeSpan? timeout, CancellationToken cancellationToken, bool isHostRead = false)
        where TReply : class, IMessage<TReply>
    {
        await using var call = Call(path, request, parser, timeout, isHostRead, cancellationToken);
        var reply = await call.MoveNextAsync()
            ? call.Current
            : throw new RpcException(RpcStatus.Internal, $"{Address}{path} ended with status OK and no reply.");
        return !await call.MoveNextAsync()
            ? reply
            : throw new RpcException(RpcStatus.Internal, $"{Address}{path} sent more than one reply.");
    }

    public IAsyncEnumerable<TReply> ServerStreamingAsync<TReply>(
        string path, IMessage request, MessageParser<TReply> parser, TimeSpan? timeout, CancellationToken cancellationToken)
        where TReply : class, IMessage<TReply> => Call(path, request, parser, timeout, isHostRead: false, cancellationToken);

    /// <summary>
    /// As <see cref="ServerStreamingAsync"/> of chunks; those of a single token are not made into messages. The reader goes on on the connection's thread.
    /// </summary>
    public IAsyncEnumerable<GenerateItem> GenerateAsync(string path, StartGenerateRequest request, TimeSpan? timeout, CancellationToken cancellationToken) =>
        new RpcCall<GenerateItem>(
            this, path, request,
            static message => SingleToken.TryRead(message, out var token) ? new GenerateItem(token, null) : new GenerateItem(0, GenerateChunk.Parser.ParseFrom(message)),
            nameof(GenerateChunk), timeout, isHostRead: true, cancellationToken);

    public void Dispose() => Connections.Dispose();

    private RpcCall<TReply> Call<TReply>(
        string path, IMessage request, MessageParser<TReply> parser, TimeSpan? timeout, bool isHostRead, CancellationToken cancellationToken)
        where TReply : class, IMessage<TReply> =>
        new(this, path, request, parser.ParseFrom, typeof(TReply).Name, timeout, isHostRead, cancellationToken);
}
