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
                if (e.Refusal is RouterRefusal.Busy or RouterRefusal.StoreUnavailable)
                {
                    context.HttpContext.Response.Headers.RetryAfter = "1";
                }

                return Refused(e);
            }
        });
        routers.MapGet("", (RouterCatalog catalog, IServiceProvider services) => AdminReply.Of(new
        {
            @default = catalog.DefaultRouter,
            catalog.LoadContexts,
            store = catalog.StoreDescription,
            warnings = catalog.Warnings,
            routers = services.GetService<RouterListing>() is { } listing ? (object)listing.Routers() : catalog.List(),
        }));
        routers.MapGet("/{name}", async (string name, HttpRequest request, RouterCatalog catalog) => Show(await catalog.Get(name, Version(request), request.HttpContext.RequestAborted)));
        routers.MapPut("/{name}", Put);
        routers.MapPost("/{name}/check", Check);
        routers.MapPost("/{name}/activate", Activate);
        routers.MapPost("/{name}/rollback", async (string name, HttpRequest request, RouterCatalog catalog) =>
            AdminReply.Of(await catalog.Rollback(name, Cause(request), onlyFrom: null, request.HttpContext.RequestAborted)));
        routers.MapPut("/{name}/labels/{label}", async (string name, string label, HttpRequest request, RouterCatalog catalog) =>
            AdminReply.Of(await catalog.SetLabel(name, label, NeededVersion(request), Cause(request), request.HttpContext.RequestAborted)));
        routers.MapDelete("/{name}/labels/{label}", async (string name, string label, HttpRequest request, RouterCatalog catalog) =>
        {
            await catalog.RemoveLabel(name, label, Cause(request), request.HttpContext.RequestAborted);
            return Results.NoContent();
        });
        routers.MapDelete("/{name}", async (string name, HttpRequest request, RouterCatalog catalog) =>
        {
            await catalog.Delete(name, Version(request), Cause(request), request.HttpContext.RequestAborted);
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
        var (author, message) = Cause(request);
        var origin = new RouterOrigin(author, message);
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

    private static async Task<IResult> Activate(string name, HttpRequest request, RouterCatalog catalog)
    {
        var header = request.Query["header"].ToString();
        var activation = new RouterActivation(Cause(request), Share(request), header.Length == 0 ? null : header, Options(request));
        return activation is { Share: 100, Header: not null }
            ? throw Malformed("header", "header chooses the requests of a canary: give its share too")
            : AdminReply.Of(await catalog.Activate(name, NeededVersion(request), activation, request.HttpContext.RequestAborted));
    }

    private static double Share(HttpRequest request)
    {
        if (!request.Query.TryGetValue("share", out var text))
        {
            return 100;
        }

        return double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var share) && share is > 0 and <= 100
            ? share
            : throw Malformed("share", $"share is \"{text}\"; it must be a percentage above 0, at most 100 (which is a plain activation)");
    }

    private static VersionSelector NeededVersion(HttpRequest request) =>
        Version(request) ?? throw Malformed("version", "say which version: ?version=3, or by a label ?version=candidate");

    private static VersionSelector? Version(HttpRequest request) =>
        !request.Query.TryGetValue("version", out var text) ? null
        : VersionSelector.Parse(text.ToString()) ?? throw Malformed("version", $"\"{text}\" is no version; versions are whole numbers from 1, or labels");

    /// <summary>Who asks and why; what no text column can hold is left out.</summary>
    private static RouterCause Cause(HttpRequest request) => new(Text(request, "author", "X-Author").Replace("\0", "", StringComparison.Ordinal), Text(request, "message", "X-Message").Replace("\0", "", StringComparison.Ordinal));

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

        await PoolThread.Take();
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

    internal static IResult Refused(RouterRefusedException e) => AdminReply.Error(
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
        diagnostic.EndColumn,
        diagnostic.Text,
        diagnostic.Hint,
    };

    private static RouterRefusedException Malformed(string what, string why) => new(RouterRefusal.Malformed, $"invalid_{what}", why);
}
