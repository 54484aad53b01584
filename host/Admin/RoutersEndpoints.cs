using System.Globalization;
using System.Text;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Admin;

/// <summary>The <c>/admin/routers</c> part of the admin API. Who may call it is decided by a filter around it.</summary>
public static class RoutersEndpoints
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Maps the endpoints; <see cref="RouterCatalog"/> and <see cref="ScriptLimits"/> come from the services.</summary>
    public static void MapRouterAdmin(this IEndpointRouteBuilder routes)
    {
        var routers = routes.MapGroup("/admin/routers");
        routers.AddEndpointFilter(async (context, next) =>
        {
            try
            {
                return await next(context);
            }
            catch (RouterRefusedException e)
            {
                if (e.Refusal == RouterRefusal.Busy)
                {
                    context.HttpContext.Response.Headers.RetryAfter = "1";
                }

                return Refused(e);
            }
        });
        routers.MapGet("", (RouterCatalog catalog) => AdminReply.Of(new { @default = catalog.DefaultRouter, catalog.LoadContexts, routers = catalog.List() }));
        routers.MapGet("/{name}", (string name, HttpRequest request, RouterCatalog catalog) => Show(catalog.Get(name, Version(request))));
        routers.MapPut("/{name}", Put);
        routers.MapPost("/{name}/check", Check);
        routers.MapPost("/{name}/activate", Activate);
        routers.MapPost("/{name}/rollback", (string name, RouterCatalog catalog) => AdminReply.Of(catalog.Rollback(name)));
        routers.MapDelete("/{name}", (string name, HttpRequest request, RouterCatalog catalog) =>
        {
            catalog.Delete(name, Version(request));
            return Results.NoContent();
        });
    }

    private static IResult Show(RouterSourceInfo router) => AdminReply.Of(new
    {
        router.Version,
        source = router.Files[0].Text,
        files = router.Files,
        diagnostics = router.Diagnostics.Select(Diagnostic),
    });

    private static async Task<IResult> Put(string name, HttpRequest request, RouterCatalog catalog, ScriptLimits limits)
    {
        var activate = Flag(request, "activate");
        RouterNames.Check(name);
        var text = await ReadText(request, limits);
        var origin = new RouterOrigin(Text(request, "author", "X-Author"), Text(request, "message", "X-Message"));
        var result = await catalog.Put(new RouterSubmission(name, text, origin, activate, Options(request)), request.HttpContext.RequestAborted);
        return result.Accepted
            ? AdminReply.Of(
                new { result.Version, result.Created, diagnostics = result.Diagnostics.Select(Diagnostic) },
                result.Created ? StatusCodes.Status201Created : StatusCodes.Status200OK)
            : AdminReply.Of(result.Diagnostics.Select(Diagnostic), StatusCodes.Status422UnprocessableEntity);
    }

    private static async Task<IResult> Check(string name, HttpRequest request, RouterCatalog catalog, ScriptLimits limits)
    {
        RouterNames.Check(name);
        var text = await ReadText(request, limits);
        var (_, diagnostics) = await catalog.Check(name, text, request.HttpContext.RequestAborted);
        return AdminReply.Of(
            diagnostics.Select(Diagnostic),
            diagnostics.Any(diagnostic => diagnostic.IsError) ? StatusCodes.Status422UnprocessableEntity : StatusCodes.Status200OK);
    }

    private static IResult Activate(string name, HttpRequest request, RouterCatalog catalog)
    {
        if (request.Query.ContainsKey("share") && request.Query["share"] != "100")
        {
            throw Malformed("share", "an activation takes all traffic: share can only be 100");
        }

        var version = Version(request) ?? throw Malformed("version", "say which version to activate: ?version=3");
        return AdminReply.Of(catalog.Activate(name, version, Options(request)));
    }

    private static int? Version(HttpRequest request)
    {
        if (!request.Query.TryGetValue("version", out var text))
        {
            return null;
        }

        return int.TryParse(text.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var version) && version > 0
            ? version
            : throw Malformed("version", $"\"{text}\" is no version; versions are whole numbers from 1");
    }

    private static bool Flag(HttpRequest request, string name) => request.Query[name].ToString() switch
    {
        "" or "false" or "0" => false,
        "true" or "1" => true,
        var other => throw Malformed(name, $"{name} is \"{other}\"; it must be true or false"),
    };

    private static string Text(HttpRequest request, string query, string header) =>
        request.Query.TryGetValue(query, out var text) ? text.ToString() : request.Headers[header].ToString();

    /// <summary>The script's Options, given as <c>?option.NAME=VALUE</c>; null if there are none.</summary>
    private static Dictionary<string, string>? Options(HttpRequest request)
    {
        const string prefix = "option.";
        var given = request.Query.Where(pair => pair.Key.StartsWith(prefix, StringComparison.OrdinalIgnoreCase))
            .ToDictionary(pair => pair.Key[prefix.Length..], pair => pair.Value.ToString(), StringComparer.OrdinalIgnoreCase);
        return given.Count == 0 ? null : given;
    }

    private static async Task<string> ReadText(HttpRequest request, ScriptLimits limits)
    {
        var cancelled = request.HttpContext.RequestAborted;
        using var body = new MemoryStream();
        var buffer = new byte[16 * 1024];
        for (int read; (read = await request.Body.ReadAsync(buffer, cancelled)) > 0;)
        {
            body.Write(buffer.AsSpan(0, read));
            if (body.Length > limits.SourceBytes)
            {
                throw new RouterRefusedException(
                    RouterRefusal.TooLarge, "script_too_large", $"The script has more than {limits.SourceBytes} bytes (setting script-source-kib)");
            }
        }

        try
        {
            var text = StrictUtf8.GetString(body.GetBuffer(), 0, (int)body.Length).TrimStart('\uFEFF');
            return string.IsNullOrWhiteSpace(text) ? throw Malformed("body", "the body is empty; it must be the C# text of the router") : text;
        }
        catch (DecoderFallbackException)
        {
            throw Malformed("body", "the body is not valid UTF-8");
        }
    }

    private static IResult Refused(RouterRefusedException e) => AdminReply.Error(
        e.Refusal switch
        {
            RouterRefusal.Malformed => StatusCodes.Status400BadRequest,
            RouterRefusal.NotFound => StatusCodes.Status404NotFound,
            RouterRefusal.TooLarge => StatusCodes.Status413PayloadTooLarge,
            RouterRefusal.Conflict => StatusCodes.Status409Conflict,
            _ => StatusCodes.Status503ServiceUnavailable,
        },
        e.Code,
        e.Message);

    private static object Diagnostic(RouterDiagnostic diagnostic) => new
    {
        diagnostic.File,
        diagnostic.Line,
        diagnostic.Column,
        diagnostic.Id,
        diagnostic.Severity,
        diagnostic.Message,
    };

    private static RouterRefusedException Malformed(string what, string why) => new(RouterRefusal.Malformed, $"invalid_{what}", why);
}
