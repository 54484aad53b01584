using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>
/// Calls methods of one server by the gRPC-over-HTTP/2 protocol. Calls fail with <see cref="RpcException"/> whatever the cause, and
/// with <see cref="OperationCanceledException"/> when the caller's own token is cancelled. Ending a call early resets its stream.
/// </summary>
internal sealed class RpcChannel : IDisposable
{
    private readonly HttpMessageInvoker _http;
    private readonly Uri _root;
    private readonly AuthenticationHeaderValue? _authorization;
    private readonly CancellationTokenSource _closing = new();

    public RpcChannel(EngineAddress address, EngineClientOptions options, TimeProvider time)
    {
        Address = address;
        Closing = _closing.Token;
        Time = time;
        Frames = FrameRules.ForClient(options.MaxMessageBytes);
        _authorization = options.BearerToken is null ? null : new("Bearer", options.BearerToken);
        _root = new Uri(address.SocketPath is null ? address.ToString() : "http://localhost");
        var handler = new SocketsHttpHandler
        {
            EnableMultipleHttp2Connections = true,
            ConnectTimeout = options.ConnectTimeout,
            KeepAlivePingDelay = options.PingDelay,
            KeepAlivePingTimeout = options.PingTimeout,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            PooledConnectionIdleTimeout = TimeSpan.FromMinutes(5),
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false,
        };
        if (address.SocketPath is not null)
        {
            handler.ConnectCallback = async (_, cancellationToken) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                try
                {
                    await socket.ConnectAsync(address.ToEndPoint(), cancellationToken);
                    return new NetworkStream(socket, ownsSocket: true);
                }
                catch
                {
                    socket.Dispose();
                    throw;
                }
            };
        }

        _http = new(handler, disposeHandler: true);
    }

    public EngineAddress Address { get; }

    public TimeProvider Time { get; }

    public FrameRules Frames { get; }

    /// <summary>Cancelled by disposal: the handler alone would let the calls under way run on.</summary>
    public CancellationToken Closing { get; }

    public async Task<TReply> UnaryAsync<TReply>(string path, IMessage request, MessageParser<TReply> parser, TimeSpan? timeout, CancellationToken cancellationToken)
        where TReply : class, IMessage<TReply>
    {
        using var call = new ClientCall<TReply>(this, path, timeout, cancellationToken);
        await call.StartAsync(request, parser);
        var reply = await call.WaitAsync()
            ? call.Replies.Take()
            : throw new RpcException(RpcStatus.Internal, $"{Address}{path} ended with status OK and no reply.");
        return !await call.WaitAsync()
            ? reply
            : throw new RpcException(RpcStatus.Internal, $"{Address}{path} sent more than one reply.");
    }

    public async IAsyncEnumerable<TReply> ServerStreamingAsync<TReply>(
        string path, IMessage request, MessageParser<TReply> parser, TimeSpan? timeout, [EnumeratorCancellation] CancellationToken cancellationToken)
        where TReply : class, IMessage<TReply>
    {
        using var call = new ClientCall<TReply>(this, path, timeout, cancellationToken);
        await call.StartAsync(request, parser);
        while (await call.WaitAsync())
        {
            yield return call.Replies.Take();
        }
    }

    /// <summary>As <see cref="ServerStreamingAsync"/> of chunks; those of a single token are not made into messages.</summary>
    public async IAsyncEnumerable<GenerateItem> GenerateAsync(
        string path, StartGenerateRequest request, TimeSpan? timeout, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var call = new ClientCall<GenerateChunk>(this, path, timeout, cancellationToken);
        await call.StartAsync(request, GenerateChunk.Parser);
        while (await call.WaitAsync())
        {
            if (SingleToken.TryRead(call.Replies.Message, out var token))
            {
                call.Replies.Skip();
                yield return new GenerateItem(token, null);
            }
            else
            {
                yield return new GenerateItem(0, call.Replies.Take());
            }
        }
    }

    /// <summary>Returns when the response's headers have arrived.</summary>
    public Task<HttpResponseMessage> SendAsync(string path, IMessage message, TimeSpan? timeout, CancellationToken cancellationToken)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, new Uri(_root, path))
        {
            Version = System.Net.HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new MessageContent(message),
        };
        if (timeout is { } wait)
        {
            request.Headers.TryAddWithoutValidation(RpcHeaders.Timeout, RpcTimeout.Format(wait));
        }

        request.Headers.TE.Add(new("trailers"));
        request.Headers.TryAddWithoutValidation(RpcHeaders.AcceptEncoding, "identity");
        request.Headers.TryAddWithoutValidation("user-agent", "grpc-dotnet-scriptedserve/0.1");
        request.Headers.Authorization = _authorization;
        return _http.SendAsync(request, cancellationToken);
    }

    public void Dispose()
    {
        if (!Closing.IsCancellationRequested)
        {
            _closing.Cancel();
            _closing.Dispose();
        }

        _http.Dispose();
    }
}
