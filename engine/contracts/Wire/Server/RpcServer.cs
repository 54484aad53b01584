using System.Globalization;
using System.IO.Pipelines;
using Google.Protobuf;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace ScriptedServe.Contracts.Wire.Server;

/// <summary>
/// Serves methods by the gRPC-over-HTTP/2 protocol: makes request delegates out of functions on messages.
/// A call runs in these steps:
/// (1) HTTP/2, content type; (2) token; (3) deadline; (4) the one request message; (5) the handler and its replies; (6) the status.
/// The handler's token is cancelled when the client resets the stream or disconnects, and when the deadline passes.
/// </summary>
public sealed class RpcServer(RpcServerOptions options, TimeProvider time, ILogger logger)
{
    /// <summary>A stream that always has a next message ready is flushed each time this much has gathered.</summary>
    private const int FlushBytes = 16 << 10;

    private const int Http2Cancel = 8;

    private readonly FrameRules _frames = FrameRules.ForServer(options.MaxMessageBytes);
    private readonly BearerToken? _token = options.BearerToken is null ? null : new(options.BearerToken);

    /// <summary>One request, one reply.</summary>
    public RequestDelegate Unary<TRequest, TReply>(MessageParser<TRequest> parser, Func<TRequest, CancellationToken, Task<TReply>> handler)
        where TRequest : class, IMessage<TRequest>
        where TReply : class, IMessage<TReply> =>
        context => ServeAsync(context, async (call, cancellationToken) =>
        {
            var request = await ReadRequestAsync(context, parser, cancellationToken);
            var reply = await handler(request, cancellationToken);
            call.Write(reply);
        });

    /// <summary>
    /// One request, a stream of replies, sent as <see cref="StreamPump"/> says: the enumerator must not compute for long before
    /// MoveNextAsync returns, is asked for more only while the transport takes what it gave, and is always disposed.
    /// </summary>
    public RequestDelegate ServerStreaming<TRequest, TReply>(MessageParser<TRequest> parser, Func<TRequest, CancellationToken, IAsyncEnumerable<TReply>> handler)
        where TRequest : class, IMessage<TRequest>
        where TReply : class, IMessage<TReply> =>
        context => ServeAsync(context, async (call, cancellationToken) =>
        {
            var request = await ReadRequestAsync(context, parser, cancellationToken);
            await StreamPump.PumpAsync(
                stop => handler(request, stop),
                reply =>
                {
                    call.Write(reply);
                    return call.UnflushedBytes >= FlushBytes;
                },
                call.FlushAsync,
                cancellationToken);
        });

    /// <summary>Answers UNIMPLEMENTED to gRPC calls and 404 to anything else.</summary>
    public RequestDelegate Unimplemented => context =>
    {
        if (RpcHeaders.IsGrpc(context.Request.ContentType))
        {
            return ServeAsync(context, (_, _) => throw new RpcException(RpcStatus.Unimplemented, $"There is no method {context.Request.Path}."));
        }

        context.Response.StatusCode = StatusCodes.Status404NotFound;
        return Task.CompletedTask;
    };

    private async Task ServeAsync(HttpContext context, Func<ServerCall, CancellationToken, Task> serve)
    {
        var (request, response) = (context.Request, context.Response);

        // (1)
        if (!HttpProtocol.IsHttp2(request.Protocol))
        {
            response.StatusCode = StatusCodes.Status426UpgradeRequired;
            response.Headers.Upgrade = "h2c";
            return;
        }

        if (!RpcHeaders.IsGrpc(request.ContentType))
        {
            response.StatusCode = StatusCodes.Status415UnsupportedMediaType;
            return;
        }

        response.ContentType = RpcHeaders.ContentType;
        response.Headers[RpcHeaders.AcceptEncoding] = "identity";
        // Messages have their own limit, with a clearer error.
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } bodySize)
        {
            bodySize.MaxRequestBodySize = null;
        }

        var call = new ServerCall(context);
        CancellationTokenSource? deadline = null;
        CancellationTokenSource? either = null;
        try
        {
            // (2)
            if (_token?.Accepts(request.Headers.Authorization) == false)
            {
                throw new RpcException(RpcStatus.Unauthenticated, "The call needs 'authorization: Bearer <token>' with this engine's token.");
            }

            // (3)
            var cancellationToken = context.RequestAborted;
            if (ReadTimeout(request) is { } timeout)
            {
                deadline = new CancellationTokenSource(timeout, time);
                either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
                cancellationToken = either.Token;
            }

            // (4), (5)
            cancellationToken.ThrowIfCancellationRequested();
            await serve(call, cancellationToken);
            call.End(RpcStatus.Ok, null, null);
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            // Nobody is left to be told.
        }
        catch (Exception e) when (deadline is { IsCancellationRequested: true } && e is OperationCanceledException or RpcException { Status: RpcStatus.Cancelled })
        {
            call.End(RpcStatus.DeadlineExceeded, $"The call's deadline of {request.Headers[RpcHeaders.Timeout]} passed.", null);
        }
        catch (RpcException e)
        {
            call.End(e.Status, e.Message, e.RetryAfter);
        }
        catch (Exception e)
        {
            RpcServerLog.UnexpectedException(logger, request.Path, e);
            call.End(RpcStatus.Internal, "The engine failed; its log has the details.", null);
        }
        finally
        {
            either?.Dispose();
            deadline?.Dispose();
        }
    }

    private static TimeSpan? ReadTimeout(HttpRequest request)
    {
        string? text = request.Headers[RpcHeaders.Timeout];
        if (text is null)
        {
            return null;
        }

        return RpcTimeout.TryParse(text, out var timeout)
            ? timeout <= RpcTimeout.Longest ? timeout : null
            : throw new RpcException(RpcStatus.InvalidArgument, $"'{RpcHeaders.Timeout}: {text}' is not at most 8 digits and a unit of H, M, S, m, u, n.");
    }

    private async Task<TRequest> ReadRequestAsync<TRequest>(HttpContext context, MessageParser<TRequest> parser, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
    {
        var reader = new MessageReader<TRequest>(context.Request.BodyReader, parser, _frames);
        var request = await reader.ReadAsync(cancellationToken)
            ?? throw new RpcException(RpcStatus.InvalidArgument, $"The request has no message; {context.Request.Path} takes one {typeof(TRequest).Name}.");
        return await reader.ReadAsync(cancellationToken) is null
            ? request
            : throw new RpcException(RpcStatus.InvalidArgument, $"The request has more than one message; {context.Request.Path} takes one {typeof(TRequest).Name}.");
    }

    /// <summary>The response of one call.</summary>
    private sealed class ServerCall(HttpContext context)
    {
        private readonly PipeWriter _body = context.Response.BodyWriter;
        private bool _hasWritten;
        private bool _isReset;

        public long UnflushedBytes { get; private set; }

        public void Write(IMessage message)
        {
            _hasWritten = true;
            UnflushedBytes += MessageFrames.Write(_body, message);
        }

        public async ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            if (UnflushedBytes == 0)
            {
                return;
            }

            UnflushedBytes = 0;
            var flush = _body.FlushAsync(CancellationToken.None);
            try
            {
                var result = flush.IsCompleted ? await flush : await flush.AsTask().WaitAsync(cancellationToken);
                if (result.IsCompleted)
                {
                    throw new OperationCanceledException("The client is gone.");
                }
            }
            catch (OperationCanceledException)
            {
                // The client does not read: trailers would wait behind the data that waits for it.
                _isReset = true;
                context.Features.Get<IHttpResetFeature>()?.Reset(Http2Cancel);
                throw;
            }
        }

        // (6)
        public void End(RpcStatus status, string? message, TimeSpan? retryAfter)
        {
            if (_isReset)
            {
                return;
            }

            // Without a message before it the status goes into the only header block there is (Trailers-Only).
            var headers = _hasWritten ? context.Features.GetRequiredFeature<IHttpResponseTrailersFeature>().Trailers : context.Response.Headers;
            headers[RpcHeaders.Status] = ((int)status).ToString(CultureInfo.InvariantCulture);
            if (message is not null)
            {
                headers[RpcHeaders.Message] = StatusMessage.Encode(message);
            }

            if (retryAfter is { } wait)
            {
                headers[RpcHeaders.RetryAfterMs] = ((long)Math.Ceiling(wait.TotalMilliseconds)).ToString(CultureInfo.InvariantCulture);
            }
        }
    }
}
