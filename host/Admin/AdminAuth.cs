using System.Net;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Primitives;

namespace ScriptedServe.Host.Admin;

/// <summary>
/// Who may use <c>/admin</c>. With a token: whoever presents it. Without one (the host then listens on loopback only): whoever is on this
/// machine, which Host and Origin are checked for, so that no web page the operator visits can reach it (DNS rebinding, cross-site posts).
/// </summary>
internal sealed class AdminAuth(string? token)
{
    private const string Scheme = "Bearer ";

    private readonly byte[]? secret = token is null ? null : Hash(token);

    /// <summary>Null if the request may pass; else the status and what to do about it.</summary>
    public (int Status, string Message)? WhyNot(HttpRequest request)
    {
        if (secret is not null)
        {
            return Presents(request.Headers.Authorization) ? null : (StatusCodes.Status401Unauthorized, "The admin API needs the header 'Authorization: Bearer <token>' with the host's --admin-token.");
        }

        if (!IsLoopback(request.Host.Host))
        {
            return (StatusCodes.Status403Forbidden, $"Host '{request.Host}' is not this machine. Without --admin-token the admin API answers to localhost, 127.0.0.1 and [::1] only.");
        }

        if (request.Headers.Origin is { Count: > 0 } origin && !IsOwn(origin, request))
        {
            return (StatusCodes.Status403Forbidden, $"Origin '{origin}' is not this server. Without --admin-token the admin API refuses calls from other sites.");
        }

        return string.Equals(request.Headers["Sec-Fetch-Site"], "cross-site", StringComparison.OrdinalIgnoreCase)
            ? (StatusCodes.Status403Forbidden, "Without --admin-token the admin API refuses calls from other sites.")
            : null;
    }

    public static bool IsLoopback(string host) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address));

    private bool Presents(StringValues authorization)
    {
        if (authorization is not [{ } only] || !only.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            return false;
        }

        // Hashes have one length, so that the comparison's time tells nothing, the token's length included.
        return CryptographicOperations.FixedTimeEquals(secret, Hash(only[Scheme.Length..].Trim()));
    }

    private static bool IsOwn(StringValues origin, HttpRequest request) =>
        origin is [{ } only]
        && Uri.TryCreate(only, UriKind.Absolute, out var uri)
        && uri.Scheme == request.Scheme
        && IsLoopback(uri.Host)
        && uri.Port == (request.Host.Port ?? (request.IsHttps ? 443 : 80));

    private static byte[] Hash(string text) => SHA256.HashData(Encoding.UTF8.GetBytes(text));
}

internal static class AdminAuthExtensions
{
    /// <summary>Guards everything under <c>/admin</c>, mapped or not.</summary>
    public static IApplicationBuilder UseAdminAuth(this IApplicationBuilder app, AdminAuth auth) => app.Use(async (context, next) =>
    {
        if (!context.Request.Path.StartsWithSegments("/admin", StringComparison.OrdinalIgnoreCase) || auth.WhyNot(context.Request) is not var (status, message))
        {
            await next(context);
            return;
        }

        if (status == StatusCodes.Status401Unauthorized)
        {
            context.Response.Headers.WWWAuthenticate = "Bearer";
        }

        await AdminReply.Error(status, status == StatusCodes.Status401Unauthorized ? "unauthorized" : "forbidden", message).ExecuteAsync(context);
    });
}
