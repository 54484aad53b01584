using System.Text.Json;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Text;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.OpenAi;

/// <summary>A failure as the client sees it: HTTP status and the fields of the OpenAI error object.</summary>
internal sealed class OpenAiException(int status, string message, string? param = null, string? code = null, Exception? inner = null) : Exception(message, inner)
{
    public int Status { get; } = status;

    public string? Param { get; } = param;

    public string? Code { get; } = code;

    /// <summary>Sent as <c>Retry-After</c>.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>Sent as <c>Allow</c>, with 405.</summary>
    public string? Allow { get; init; }

    private string Type => Status switch
    {
        401 => "authentication_error",
        429 => "rate_limit_error",
        < 500 => "invalid_request_error",
        _ => "server_error",
    };

    /// <summary>A 400 that names the parameter.</summary>
    public static OpenAiException Invalid(string param, string message, string? code = null) => new(400, message, param, code);

    /// <summary>How any failure of a request is told; null if it is unexpected, and so to be logged and told in general words only.</summary>
    public static OpenAiException? From(Exception e) => e switch
    {
        OpenAiException known => known,
        RouterNotFoundException => new(404, e.Message, "X-Router", "router_not_found", e),
        RouterFailedException => new(500, e.Message, null, "router_failed", e),
        ChatTemplateException => new(400, $"The model's chat template does not take these messages: {e.Message}", "messages", "chat_template_error", e),
        EngineException engine => engine.Error switch
        {
            EngineError.Overloaded => new(429, e.Message, null, "overloaded", e) { RetryAfter = engine.RetryAfter ?? TimeSpan.FromSeconds(1) },
            EngineError.Unavailable => new(503, e.Message, null, "engine_unavailable", e) { RetryAfter = engine.RetryAfter },
            EngineError.Invalid => new(400, e.Message, null, "invalid_value", e),
            EngineError.Cancelled => new(504, e.Message, null, "timeout", e),
            _ => new(502, e.Message, null, "engine_failed", e),
        },
        BadHttpRequestException bad => new(bad.StatusCode, bad.Message, inner: e),
        OperationCanceledException => new(503, "The request was cancelled: its time limit passed or the server is stopping.", null, "cancelled", e),
        _ => null,
    };

    /// <summary>What is told of a failure that <see cref="From"/> does not know.</summary>
    public static OpenAiException Unexpected(string requestId, Exception inner) =>
        new(500, $"The server failed; its log has the details under {requestId}.", null, "internal_error", inner);

    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteStartObject("error"u8);
        json.WriteString("message"u8, Message);
        json.WriteString("type"u8, Type);
        json.WriteString("param"u8, Param);
        json.WriteString("code"u8, Code);
        json.WriteEndObject();
        json.WriteEndObject();
    }
}
