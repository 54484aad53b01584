using System.Globalization;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>What a gRPC client wants to know of a block of response headers or trailers.</summary>
internal sealed class ResponseHeaders : IHeaderSink
{
    /// <summary>The HTTP status; null in trailers.</summary>
    public int? HttpStatus { get; private set; }

    public string? ContentType { get; private set; }

    /// <summary>Null if there is none, <see cref="RpcStatus.Unknown"/> if it is none of the protocol's.</summary>
    public RpcStatus? Status { get; private set; }

    /// <summary>As it came, percent-encoded.</summary>
    public string? Message { get; private set; }

    public TimeSpan? RetryAfter { get; private set; }

    public void Add(string name, string value)
    {
        switch (name)
        {
            case ":status":
                HttpStatus = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var http) ? http : 0;
                break;
            case "content-type":
                ContentType = value;
                break;
            case RpcHeaders.Status:
                Status = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var code) && Enum.IsDefined((RpcStatus)code) ? (RpcStatus)code : RpcStatus.Unknown;
                break;
            case RpcHeaders.Message:
                Message = value;
                break;
            case RpcHeaders.RetryAfterMs:
                RetryAfter = long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var ms) && ms <= TimeSpan.MaxValue.TotalMilliseconds ? TimeSpan.FromMilliseconds(ms) : null;
                break;
        }
    }
}
