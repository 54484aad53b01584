using Microsoft.Extensions.Logging;

namespace ScriptedServe.Contracts.Wire.Server;

internal static partial class RpcServerLog
{
    [LoggerMessage(1, LogLevel.Error, "{Path} failed with an exception it does not declare; answered INTERNAL")]
    public static partial void UnexpectedException(ILogger logger, string path, Exception exception);
}
