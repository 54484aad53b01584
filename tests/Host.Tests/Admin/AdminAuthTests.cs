using Microsoft.AspNetCore.Http;
using ScriptedServe.Host.Admin;

namespace ScriptedServe.Host.Tests.Admin;

public sealed class AdminAuthTests
{
    /// <summary>Without a token, on a loopback bind.</summary>
    [Theory]
    [InlineData("127.0.0.1:8000", null, null, null)]
    [InlineData("localhost:8000", null, null, null)]
    [InlineData("[::1]:8000", "http://[::1]:8000", null, null)]
    [InlineData("localhost:8000", "http://localhost:8000", "same-origin", null)]
    [InlineData("127.0.0.1:8000", "http://localhost:8000", null, null)]
    [InlineData("evil.example:8000", null, null, 403)]
    [InlineData("127.0.0.1.evil.example:8000", null, null, 403)]
    [InlineData("localhost:8000", "http://evil.example", null, 403)]
    [InlineData("localhost:8000", "http://localhost:3000", null, 403)]
    [InlineData("localhost:8000", "https://localhost:8000", null, 403)]
    [InlineData("localhost:8000", "null", null, 403)]
    [InlineData("localhost:8000", null, "cross-site", 403)]
    public void Without_a_token_only_this_machine_and_no_foreign_page_may_pass(string host, string? origin, string? fetchSite, int? refusedWith)
    {
        var request = Request(host, origin);
        if (fetchSite is not null)
        {
            request.Headers["Sec-Fetch-Site"] = fetchSite;
        }

        Assert.Equal(refusedWith, new AdminAuth(null).WhyNot(request)?.Status);
    }

    [Theory]
    [InlineData("Bearer s3cret", null)]
    [InlineData("bearer s3cret", null)]
    [InlineData("Bearer s3cre", 401)]
    [InlineData("Bearer s3cret2", 401)]
    [InlineData("Bearer ", 401)]
    [InlineData("Basic s3cret", 401)]
    [InlineData(null, 401)]
    public void With_a_token_it_alone_decides(string? authorization, int? refusedWith)
    {
        var request = Request("host.example:8000", "http://elsewhere.example");
        if (authorization is not null)
        {
            request.Headers.Authorization = authorization;
        }

        Assert.Equal(refusedWith, new AdminAuth("s3cret").WhyNot(request)?.Status);
    }

    private static HttpRequest Request(string host, string? origin)
    {
        var request = new DefaultHttpContext().Request;
        request.Scheme = "http";
        request.Host = new HostString(host);
        if (origin is not null)
        {
            request.Headers.Origin = origin;
        }

        return request;
    }
}
