using System.Text.Json;
using System.Text.Json.Serialization;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Admin;

/// <summary>How routers look on the admin API: snake_case names, enums as lower-case words.</summary>
internal static class RouterJson
{
    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    public static IResult Ok(object value, int status = StatusCodes.Status200OK) => Results.Json(value, Options, statusCode: status);

    public static IResult Error(int status, string type, string code, string message) =>
        Results.Json(new { error = new { message, type, code } }, Options, statusCode: status);

    public static IResult Refused(RouterRefusedException e)
    {
        var status = e.Refusal switch
        {
            RouterRefusal.Malformed => StatusCodes.Status400BadRequest,
            RouterRefusal.NotFound => StatusCodes.Status404NotFound,
            RouterRefusal.TooLarge => StatusCodes.Status413PayloadTooLarge,
            RouterRefusal.Conflict => StatusCodes.Status409Conflict,
            _ => StatusCodes.Status503ServiceUnavailable,
        };
        return Error(status, status >= 500 ? "server_error" : "invalid_request_error", e.Code, e.Message);
    }

    public static object Diagnostic(RouterDiagnostic diagnostic) => new
    {
        diagnostic.File,
        diagnostic.Line,
        diagnostic.Column,
        diagnostic.Id,
        diagnostic.Severity,
        diagnostic.Message,
    };
}
