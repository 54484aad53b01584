using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Contracts.Wire.Server;

/// <summary>Serves an engine's microserving calls.</summary>
public static class EngineApiEndpoints
{
    /// <summary>
    /// Maps the eight methods of <c>scriptedserve.v1.Engine</c>; other gRPC calls get UNIMPLEMENTED. The clock for deadlines and the
    /// logger factory come from the services (the system's clock if there is none).
    /// </summary>
    public static IEndpointRouteBuilder MapEngineApi(this IEndpointRouteBuilder endpoints, IEngineApi api, RpcServerOptions? options = null)
    {
        var rpc = new RpcServer(
            options ?? new(),
            endpoints.ServiceProvider.GetService<TimeProvider>() ?? TimeProvider.System,
            endpoints.ServiceProvider.GetRequiredService<ILoggerFactory>().CreateLogger("ScriptedServe.Rpc"));

        endpoints.MapPost(EngineMethods.PrepRecv, rpc.Unary(PrepRecvRequest.Parser, api.PrepRecvAsync));
        endpoints.MapPost(EngineMethods.RemoteSend, rpc.Unary(RemoteSendRequest.Parser, api.RemoteSendAsync));
        endpoints.MapPost(EngineMethods.StartGenerate, rpc.ServerStreaming(StartGenerateRequest.Parser, api.StartGenerateAsync));
        endpoints.MapPost(EngineMethods.Release, rpc.Unary(ReleaseRequest.Parser, api.ReleaseAsync));
        endpoints.MapPost(EngineMethods.Abort, rpc.Unary(AbortRequest.Parser, api.AbortAsync));
        endpoints.MapPost(EngineMethods.GetStatus, rpc.Unary(GetStatusRequest.Parser, api.GetStatusAsync));
        endpoints.MapPost(EngineMethods.WatchStatus, rpc.ServerStreaming(WatchStatusRequest.Parser, api.WatchStatusAsync));
        endpoints.MapPost(EngineMethods.Drain, rpc.Unary(DrainRequest.Parser, api.DrainAsync));
        endpoints.MapPost("/{service}/{method}", rpc.Unimplemented);
        return endpoints;
    }
}
