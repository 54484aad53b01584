namespace ScriptedServe.Host.OpenAi;

internal static partial class OpenAiLog
{
    [LoggerMessage(1, LogLevel.Error, "{RequestId} failed unexpectedly")]
    public static partial void UnexpectedException(ILogger logger, string requestId, Exception exception);

    [LoggerMessage(2, LogLevel.Warning, "{RequestId} failed with {Status} {Code}: {Message}")]
    public static partial void ServerError(ILogger logger, string requestId, int status, string? code, string message);
}
