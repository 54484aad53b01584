namespace ScriptedServe.Contracts;

/// <summary>The gRPC status codes, by number.</summary>
public enum RpcStatus
{
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// <summary>A microserving call that failed. The message names what was wrong, where, and the limit, for a person to act on.</summary>
public sealed class RpcException(RpcStatus status, string message, TimeSpan? retryAfter = null, Exception? inner = null) : Exception(message, inner)
{
    public RpcStatus Status { get; } = status;

    /// <summary>With <see cref="RpcStatus.ResourceExhausted"/>: when a retry may succeed (trailer <c>retry-after-ms</c>).</summary>
    public TimeSpan? RetryAfter { get; } = retryAfter;
}
