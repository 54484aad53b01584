using System.Net;
using ScriptedServe.Contracts.Wire.Client.Http2;

namespace ScriptedServe.Contracts.Wire.Client;

/// <summary>What the caller of a call is told of each way in which it can fail.</summary>
/// <param name="isPastDeadline">The deadline has passed by the client's own clock.</param>
/// <param name="callersToken">Its cancellation explains every failure that follows from it; likewise <paramref name="enumeratorsToken"/>'s.</param>
internal readonly struct CallErrors(
    EngineAddress address, string path, TimeSpan? timeout, bool isPastDeadline, CancellationToken callersToken, CancellationToken enumeratorsToken)
{
    private string Method => $"{address}{path}";

    /// <summary>Null for response headers after which a reply may come.</summary>
    public Exception? Judge(ResponseHeaders headers) =>
        headers.Status is { } status && status != RpcStatus.Ok ? OfStatus(status, headers)
        : headers.HttpStatus != (int)HttpStatusCode.OK ? new RpcException(OfHttp(headers.HttpStatus ?? 0), $"{Method} was answered with HTTP status {headers.HttpStatus} and no gRPC status.")
        : !RpcHeaders.IsGrpc(headers.ContentType) ? new RpcException(RpcStatus.Unknown, $"{Method} was answered with content type '{headers.ContentType}', which is not gRPC.")
        : null;

    /// <summary>Null for an end with OK.</summary>
    public Exception? OfEnd(RpcStatus? status, ResponseHeaders? trailers) => status switch
    {
        null => new RpcException(RpcStatus.Internal, $"{Method} ended without a gRPC status."),
        RpcStatus.Ok => null,
        _ => OfStatus(status.Value, trailers),
    };

    public RpcException CutOff(Http2Error error) => new(OfHttp2(error), $"{Method} was cut off (HTTP/2 error {(uint)error}).");

    public OperationCanceledException Cancelled(CancellationToken token) => new($"{Method} was cancelled.", token);

    public RpcException PastDeadline(Exception? inner) =>
        new(RpcStatus.DeadlineExceeded, $"{Method} did not finish within {RpcTimeout.Format(timeout ?? TimeSpan.Zero)}.", inner: inner);

    /// <summary>What went wrong below the protocol.</summary>
    public Exception Unreachable(Exception cause) =>
        callersToken.IsCancellationRequested ? Cancelled(callersToken)
        : enumeratorsToken.IsCancellationRequested ? Cancelled(enumeratorsToken)
        : isPastDeadline ? PastDeadline(cause)
        : cause is ObjectDisposedException ? new RpcException(RpcStatus.Unavailable, $"The client for {address} has been disposed.", inner: cause)
        : new RpcException(RpcStatus.Unavailable, $"{address} cannot be reached or went away during {path}: {cause.Message}", inner: cause);

    private RpcException OfStatus(RpcStatus status, ResponseHeaders? headers) =>
        status == RpcStatus.Cancelled && isPastDeadline
            ? PastDeadline(null)
            : new RpcException(status, headers?.Message is { } encoded ? StatusMessage.Decode(encoded) : $"{Method} failed without a message.", headers?.RetryAfter);

    /// <summary>grpc/doc/http-grpc-status-mapping.md.</summary>
    private static RpcStatus OfHttp(int code) => code switch
    {
        400 => RpcStatus.Internal,
        401 => RpcStatus.Unauthenticated,
        403 => RpcStatus.PermissionDenied,
        404 => RpcStatus.Unimplemented,
        429 or 502 or 503 or 504 => RpcStatus.Unavailable,
        _ => RpcStatus.Unknown,
    };

    /// <summary>PROTOCOL-HTTP2.md, "Errors".</summary>
    private static RpcStatus OfHttp2(Http2Error error) => error switch
    {
        Http2Error.RefusedStream => RpcStatus.Unavailable,
        Http2Error.Cancel => RpcStatus.Cancelled,
        Http2Error.EnhanceYourCalm => RpcStatus.ResourceExhausted,
        Http2Error.InadequateSecurity => RpcStatus.PermissionDenied,
        _ => RpcStatus.Internal,
    };
}
