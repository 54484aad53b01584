using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using Google.Protobuf;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>
/// One call from its request to its status: <see cref="StartAsync"/> once, then <see cref="WaitAsync"/> and a take of what it waited for until it answers false.
/// Disposing it before that resets the stream. Not thread-safe.
/// </summary>
internal sealed class ClientCall<TReply> : IDisposable
    where TReply : class, IMessage<TReply>
{
    private readonly RpcChannel _channel;
    private readonly string _path;
    private readonly TimeSpan? _timeout;
    private readonly CancellationToken _callersToken;
    private readonly CancellationTokenSource? _deadline;
    private readonly CancellationTokenSource _any;
    private readonly CancellationToken _token;
    private HttpResponseMessage? _response;
    private ReplyReader<TReply>? _replies;

    public ClientCall(RpcChannel channel, string path, TimeSpan? timeout, CancellationToken cancellationToken)
    {
        _channel = channel;
        _path = path;
        _callersToken = cancellationToken;
        _timeout = timeout <= RpcTimeout.Longest ? timeout : null;
        _deadline = _timeout is { } wait ? new CancellationTokenSource(wait, channel.Time) : null;
        _any = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, channel.Closing, _deadline?.Token ?? default);
        _token = _any.Token;
    }

    private string Method => $"{_channel.Address}{_path}";

    public async Task StartAsync(IMessage request, MessageParser<TReply> parser)
    {
        try
        {
            _token.ThrowIfCancellationRequested();
            _response = await _channel.SendAsync(_path, request, _timeout, _token);
            if (ReadStatus(_response.Headers) is { } status)
            {
                // Trailers-Only.
                ThrowUnlessOk(status, _response.Headers);
            }

            if (_response.StatusCode != HttpStatusCode.OK)
            {
                throw new RpcException(FromHttp(_response.StatusCode), $"{Method} was answered with HTTP status {(int)_response.StatusCode} and no gRPC status.");
            }

            if (!RpcHeaders.IsGrpc(_response.Content.Headers.ContentType?.MediaType))
            {
                throw new RpcException(RpcStatus.Unknown, $"{Method} was answered with content type '{_response.Content.Headers.ContentType}', which is not gRPC.");
            }

            var body = await _response.Content.ReadAsStreamAsync(_token);
            _replies = new(body, parser, _channel.Frames);
        }
        catch (Exception e) when (e is not RpcException)
        {
            throw Translate(e);
        }
    }

    /// <summary>Where the reply that was waited for is to be taken from.</summary>
    public ReplyReader<TReply> Replies => _replies!;

    /// <returns>True once a whole reply is here; false once the status OK has arrived.</returns>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<bool> WaitAsync()
    {
        try
        {
            if (await _replies!.WaitAsync(_token))
            {
                return true;
            }

            // A Trailers-Only response has been judged by its headers.
            var status = ReadStatus(_response!.TrailingHeaders) ?? ReadStatus(_response.Headers)
                ?? throw new RpcException(RpcStatus.Internal, $"{Method} ended without a gRPC status.");
            ThrowUnlessOk(status, _response.TrailingHeaders);
            return false;
        }
        catch (Exception e) when (e is not RpcException)
        {
            throw Translate(e);
        }
    }

    public void Dispose()
    {
        _response?.Dispose();
        _replies?.Dispose();
        _any.Dispose();
        _deadline?.Dispose();
    }

    private void ThrowUnlessOk(RpcStatus status, HttpResponseHeaders headers)
    {
        if (status == RpcStatus.Ok)
        {
            return;
        }

        if (status == RpcStatus.Cancelled && _deadline is { IsCancellationRequested: true })
        {
            throw DeadlineExceeded(null);
        }

        TimeSpan? retryAfter = long.TryParse(First(headers, RpcHeaders.RetryAfterMs), NumberStyles.None, CultureInfo.InvariantCulture, out var ms)
            ? TimeSpan.FromMilliseconds(ms)
            : null;
        var message = First(headers, RpcHeaders.Message) is { } encoded ? StatusMessage.Decode(encoded) : $"{Method} failed without a message.";
        throw new RpcException(status, message, retryAfter);
    }

    private RpcException DeadlineExceeded(Exception? inner) =>
        new(RpcStatus.DeadlineExceeded, $"{Method} did not finish within {RpcTimeout.Format(_timeout ?? TimeSpan.Zero)}.", inner: inner);

    /// <summary>What went wrong below the protocol.</summary>
    private Exception Translate(Exception e)
    {
        if (_callersToken.IsCancellationRequested)
        {
            return new OperationCanceledException($"{Method} was cancelled.", e, _callersToken);
        }

        if (_deadline is { IsCancellationRequested: true })
        {
            return DeadlineExceeded(e);
        }

        if (_channel.Closing.IsCancellationRequested)
        {
            return new RpcException(RpcStatus.Unavailable, $"The client for {_channel.Address} has been disposed.", inner: e);
        }

        for (var cause = e; cause is not null; cause = cause.InnerException)
        {
            if (cause is HttpProtocolException reset)
            {
                return new RpcException(FromHttp2Error(reset.ErrorCode), $"{Method} was cut off (HTTP/2 error {reset.ErrorCode}): {reset.Message}", inner: e);
            }
        }

        return new RpcException(RpcStatus.Unavailable, $"{_channel.Address} cannot be reached or went away during {_path}: {e.GetBaseException().Message}", inner: e);
    }

    private static RpcStatus? ReadStatus(HttpResponseHeaders headers) =>
        First(headers, RpcHeaders.Status) is not { } text ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var code) && Enum.IsDefined((RpcStatus)code) ? (RpcStatus)code
        : RpcStatus.Unknown;

    private static string? First(HttpResponseHeaders headers, string name) => headers.NonValidated.TryGetValues(name, out var values) ? values.First() : null;

    /// <summary>grpc/doc/http-grpc-status-mapping.md.</summary>
    private static RpcStatus FromHttp(HttpStatusCode code) => (int)code switch
    {
        400 => RpcStatus.Internal,
        401 => RpcStatus.Unauthenticated,
        403 => RpcStatus.PermissionDenied,
        404 => RpcStatus.Unimplemented,
        429 or 502 or 503 or 504 => RpcStatus.Unavailable,
        _ => RpcStatus.Unknown,
    };

    /// <summary>
    /// PROTOCOL-HTTP2.md, "Errors"; except that PROTOCOL_ERROR (1) is UNAVAILABLE, because that is how SocketsHttpHandler reports a
    /// connection whose pings went unanswered.
    /// </summary>
    private static RpcStatus FromHttp2Error(long code) => code switch
    {
        1 => RpcStatus.Unavailable,
        7 => RpcStatus.Unavailable,
        8 => RpcStatus.Cancelled,
        11 => RpcStatus.ResourceExhausted,
        12 => RpcStatus.PermissionDenied,
        _ => RpcStatus.Internal,
    };
}
