namespace ScriptedServe.Host.Dashboard;

/// <summary>The page at <c>/</c>: one embedded file without outside assets, which reads the admin API.</summary>
internal static class DashboardEndpoint
{
    private static readonly byte[] Page = ReadPage();

    public static void MapDashboard(this IEndpointRouteBuilder routes) => routes.MapGet("/", (HttpResponse response) =>
    {
        response.Headers.ContentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'";
        response.Headers.CacheControl = "no-cache";
        return Results.Bytes(Page, "text/html; charset=utf-8");
    });

    private static byte[] ReadPage()
    {
        using var page = typeof(DashboardEndpoint).Assembly.GetManifestResourceStream("dashboard.html")
            ?? throw new InvalidOperationException("The dashboard is not embedded.");
        var bytes = new byte[page.Length];
        page.ReadExactly(bytes);
        return bytes;
    }
}
