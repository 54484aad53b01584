using ScriptedServe.Contracts;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Kv;

/// <summary>What a failed transfer is to the caller of the microserving interface.</summary>
public static class KvErrors
{
    public static RpcException ToRpc(Exception error, string during) => error switch
    {
        RpcException rpc => rpc,
        KvTransportException kv => new RpcException(
            StatusOf(kv.Fault), $"{during}: {kv.Message}", kv.Fault == KvFault.Busy ? TimeSpan.FromSeconds(1) : null, kv),
        OperationCanceledException => new RpcException(RpcStatus.Cancelled, $"{during}: cancelled", inner: error),
        _ => new RpcException(RpcStatus.Internal, $"{during}: {error.GetType().Name}: {error.Message}", inner: error),
    };

    private static RpcStatus StatusOf(KvFault fault) => fault switch
    {
        KvFault.Malformed or KvFault.OutOfRange => RpcStatus.InvalidArgument,
        KvFault.Forged => RpcStatus.Unauthenticated,
        KvFault.UnsupportedVersion or KvFault.WrongLayout or KvFault.WrongEpoch or KvFault.Ended or KvFault.Incomplete => RpcStatus.FailedPrecondition,
        KvFault.Busy or KvFault.Scattered => RpcStatus.ResourceExhausted,
        KvFault.Unreachable or KvFault.Disconnected => RpcStatus.Unavailable,
        _ => RpcStatus.Internal,
    };
}
