using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace ScriptedServe.Host.Admin;

/// <summary>How the admin API writes: JSON in snake case, enums as lower-case words, what is null left out, text as it is (never part of a page).</summary>
internal static class AdminReply
{
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    public static IResult Of<T>(T value, int status = StatusCodes.Status200OK) => Results.Json(value, Json, statusCode: status);

    /// <param name="code">For programs: <c>no_such_engine</c> and the like.</param>
    public static IResult Error(int status, string code, string message) => Of(new { error = new { message, type = status >= 500 ? "server_error" : "invalid_request_error", code } }, status);

    /// <summary>Gives an error object to what nothing answered: no such path, or not with this method.</summary>
    public static IApplicationBuilder UseErrorObjects(this IApplicationBuilder app) => app.UseStatusCodePages(context =>
    {
        var (request, response) = (context.HttpContext.Request, context.HttpContext.Response);
        var (code, message) = response.StatusCode switch
        {
            StatusCodes.Status404NotFound => ("not_found", $"There is nothing at {request.Path}."),
            StatusCodes.Status405MethodNotAllowed => ("method_not_allowed", $"{request.Path} takes {response.Headers.Allow}, not {request.Method}."),
            var status => ("refused", $"{request.Method} {request.Path} was refused with status {status}."),
        };
        return Error(response.StatusCode, code, message).ExecuteAsync(context.HttpContext);
    });

    /// <summary>A whole number of the query, or the reply that says what is wrong with it.</summary>
    /// <returns>Neither, where the query has none.</returns>
    public static (long? Value, IResult? Refusal) ReadNumber(HttpRequest request, string name, long least)
    {
        if (!request.Query.TryGetValue(name, out var text))
        {
            return (null, null);
        }

        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value >= least
            ? (value, null)
            : (null, Error(StatusCodes.Status400BadRequest, $"invalid_{name}", $"{name} is \"{text}\"; it must be a whole number from {least}."));
    }

    /// <summary>The request's JSON body, or the reply that says what is wrong with it.</summary>
    public static async Task<(T? Body, IResult? Refusal)> ReadAsync<T>(HttpRequest request, string expected)
        where T : class
    {
        try
        {
            var read = await JsonSerializer.DeserializeAsync<T>(request.Body, Json, request.HttpContext.RequestAborted);
            await PoolThread.Take();
            return read is { } body
                ? (body, null)
                : (null, Error(StatusCodes.Status400BadRequest, "bad_body", $"The body is null; expected {expected}."));
        }
        catch (JsonException e)
        {
            return (null, Error(StatusCodes.Status400BadRequest, "bad_body", $"The body is not {expected}: {e.Message}"));
        }
    }
}
