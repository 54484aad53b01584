namespace ScriptedServe.Contracts.Wire;

/// <summary>Names and values of the gRPC-over-HTTP/2 protocol (grpc/doc/PROTOCOL-HTTP2.md).</summary>
internal static class RpcHeaders
{
    public const string ContentType = "application/grpc";
    public const string Timeout = "grpc-timeout";
    public const string Status = "grpc-status";
    public const string Message = "grpc-message";
    public const string Encoding = "grpc-encoding";
    public const string AcceptEncoding = "grpc-accept-encoding";

    /// <summary>Ours: milliseconds after which a retry may succeed, with RESOURCE_EXHAUSTED.</summary>
    public const string RetryAfterMs = "retry-after-ms";

    /// <summary>application/grpc, application/grpc+proto, either with parameters; not application/grpc-web.</summary>
    public static bool IsGrpc(string? contentType) =>
        contentType is not null
        && contentType.StartsWith(ContentType, StringComparison.OrdinalIgnoreCase)
        && (contentType.Length == ContentType.Length || contentType[ContentType.Length] is '+' or ';' or ' ');
}
