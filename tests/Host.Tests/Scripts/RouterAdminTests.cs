using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using ScriptedServe.Host.Admin;

namespace ScriptedServe.Host.Tests.Scripts;

[SuppressMessage("Design", "CA1001", Justification = "Disposed in DisposeAsync, which xunit calls.")]
public sealed class RouterAdminTests : IAsyncLifetime
{
    private readonly CatalogHarness _harness = new();
    private readonly HttpClient _http = new();
    private WebApplication? _app;

    public async Task InitializeAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddSingleton(_harness.Catalog).AddSingleton(_harness.Limits);
        _app = builder.Build();
        _app.MapRouterAdmin();
        await _app.StartAsync();
        _http.BaseAddress = new Uri(_app.Urls.First() + "/admin/");
    }

    public async Task DisposeAsync()
    {
        _http.Dispose();
        await _app!.DisposeAsync();
        await _harness.DisposeAsync();
    }

    [Fact]
    public async Task A_router_is_put_listed_read_activated_rolled_back_and_deleted()
    {
        var (status, made) = await Send(HttpMethod.Put, "routers/side?activate=true&author=ann&message=first", CatalogHarness.Answering(1));
        Assert.Equal((201, 1, "active", "ann", "first"), (status, made.GetProperty("version").GetProperty("version").GetInt32(), Text(made, "version", "state"), Text(made, "version", "author"), Text(made, "version", "message")));
        Assert.Equal(200, (await Send(HttpMethod.Put, "routers/side?activate=true", CatalogHarness.Answering(1))).Status);
        Assert.Equal(201, (await Send(HttpMethod.Put, "routers/side", CatalogHarness.Answering(2))).Status);
        Assert.Equal([1], await _harness.Serve(spec: "side"));

        var (_, shown) = await Send(HttpMethod.Get, "routers/side?version=2");
        Assert.Equal((CatalogHarness.Answering(2), "loaded"), (shown.GetProperty("source").GetString(), Text(shown, "version", "state")));

        Assert.Equal(200, (await Send(HttpMethod.Post, "routers/side/activate?version=2&option.x=1")).Status);
        Assert.Equal([2], await _harness.Serve(spec: "side"));
        var (_, list) = await Send(HttpMethod.Get, "routers");
        var side = list.GetProperty("routers")[0];
        Assert.Equal(("side", 2, "main"), (side.GetProperty("name").GetString(), side.GetProperty("active_version").GetInt32(), list.GetProperty("default").GetString()));
        Assert.Equal("1", side.GetProperty("versions")[0].GetProperty("options").GetProperty("x").GetString());
        Assert.Equal(0.5, side.GetProperty("versions")[0].GetProperty("share").GetDouble());

        Assert.Equal(1, (await Send(HttpMethod.Post, "routers/side/rollback")).Body.GetProperty("version").GetInt32());
        Assert.Equal((409, "router_in_use"), await Error(HttpMethod.Delete, "routers/side?version=1"));
        Assert.Equal(204, (await Send(HttpMethod.Delete, "routers/side?version=2")).Status);
        Assert.Equal(204, (await Send(HttpMethod.Delete, "routers/side")).Status);
    }

    [Fact]
    public async Task A_label_names_a_version_wherever_a_version_can_be_named()
    {
        await Send(HttpMethod.Put, "routers/side?activate=true", CatalogHarness.Answering(1));
        await Send(HttpMethod.Put, "routers/side", CatalogHarness.Answering(2));
        Assert.Equal(200, (await Send(HttpMethod.Put, "routers/side/labels/candidate?version=2")).Status);
        Assert.Equal(2, (await Send(HttpMethod.Get, "routers/side?version=candidate")).Body.GetProperty("version").GetProperty("version").GetInt32());
        Assert.Equal((409, "router_in_use"), await Error(HttpMethod.Delete, "routers/side?version=candidate"));

        var canary = (await Send(HttpMethod.Post, "routers/side/activate?version=candidate&share=12.5&header=X-User&author=ann&message=try")).Body;
        Assert.Equal((12.5, "candidate"), (canary.GetProperty("traffic").GetDouble(), canary.GetProperty("labels")[0].GetString()));
        var side = (await Send(HttpMethod.Get, "routers")).Body.GetProperty("routers")[0];
        Assert.Equal((2, 12.5, "X-User"), (side.GetProperty("canary").GetProperty("version").GetInt32(), side.GetProperty("canary").GetProperty("share").GetDouble(), side.GetProperty("canary").GetProperty("header").GetString()));
        Assert.Equal(87.5, side.GetProperty("versions")[1].GetProperty("traffic").GetDouble());

        Assert.Equal(1, (await Send(HttpMethod.Post, "routers/side/rollback")).Body.GetProperty("version").GetInt32());
        Assert.Equal(204, (await Send(HttpMethod.Delete, "routers/side/labels/candidate")).Status);
        Assert.Equal(204, (await Send(HttpMethod.Delete, "routers/side?version=2")).Status);
    }

    [Fact]
    public async Task A_text_with_errors_is_answered_with_its_diagnostics()
    {
        foreach (var (method, path) in new[] { (HttpMethod.Put, "routers/side?activate=true"), (HttpMethod.Post, "routers/side/check") })
        {
            var (status, body) = await Send(method, path, "\nIAsyncEnumerable<Chunk> HandleRequest(Request request) => nonsense;");
            Assert.Equal(422, status);
            Assert.Equal(
                """{"file":"side.csx","line":2,"column":59,"id":"CS0103","severity":"error","message":"The name 'nonsense' does not exist in the current context","end_column":67,"text":"IAsyncEnumerable<Chunk> HandleRequest(Request request) => nonsense;"}""",
                body[0].GetRawText());
        }

        Assert.Equal("[]", (await Send(HttpMethod.Post, "routers/side/check", CatalogHarness.Good)).Body.GetRawText());
    }

    [Theory]
    [InlineData("GET", "routers/none", 404, "router_not_found")]
    [InlineData("GET", "routers/none?version=-x", 400, "invalid_version")]
    [InlineData("GET", "routers/none?version=stable", 404, "router_not_found")]
    [InlineData("POST", "routers/none/activate?version=1", 404, "router_not_found")]
    [InlineData("POST", "routers/none/activate", 400, "invalid_version")]
    [InlineData("POST", "routers/none/activate?version=0", 400, "invalid_version")]
    [InlineData("POST", "routers/none/activate?version=1&share=0", 400, "invalid_share")]
    [InlineData("POST", "routers/none/activate?version=1&share=ten", 400, "invalid_share")]
    [InlineData("POST", "routers/none/activate?version=1&header=X-User", 400, "invalid_header")]
    [InlineData("PUT", "routers/none/labels/Stable?version=1", 400, "invalid_label")]
    [InlineData("PUT", "routers/none/labels/stable", 400, "invalid_version")]
    [InlineData("PUT", "routers/none/labels/stable?version=1", 404, "router_not_found")]
    [InlineData("DELETE", "routers/none/labels/stable", 404, "router_not_found")]
    [InlineData("POST", "routers/none/rollback", 404, "router_not_found")]
    [InlineData("DELETE", "routers/none", 404, "router_not_found")]
    [InlineData("PUT", "routers/No", 400, "invalid_router_name")]
    [InlineData("PUT", "routers/side", 400, "invalid_body")]
    [InlineData("PUT", "routers/side?activate=maybe", 400, "invalid_activate")]
    public async Task A_wrong_call_is_answered_with_what_is_wrong(string method, string path, int status, string code) =>
        Assert.Equal((status, code), await Error(new HttpMethod(method), path));

    [Fact]
    public async Task A_body_that_is_too_large_or_no_text_is_refused()
    {
        Assert.Equal((413, "script_too_large"), await Error(HttpMethod.Put, "routers/side", new byte[_harness.Limits.SourceBytes + 1]));
        Assert.Equal((400, "invalid_body"), await Error(HttpMethod.Put, "routers/side", [0xff, 0xfe, 0x41]));
    }

    private static string? Text(JsonElement element, string first, string second) => element.GetProperty(first).GetProperty(second).GetString();

    private async Task<(int Status, string? Code)> Error(HttpMethod method, string path, byte[]? body = null)
    {
        using var request = new HttpRequestMessage(method, path) { Content = new ByteArrayContent(body ?? []) };
        using var response = await _http.SendAsync(request);
        using var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        var error = json.RootElement.GetProperty("error");
        Assert.NotEqual("", error.GetProperty("message").GetString());
        Assert.NotEqual("", error.GetProperty("type").GetString());
        return ((int)response.StatusCode, error.GetProperty("code").GetString());
    }

    private async Task<(int Status, JsonElement Body)> Send(HttpMethod method, string path, string? body = null)
    {
        using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : new StringContent(body, Encoding.UTF8, "text/plain") };
        using var response = await _http.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        return ((int)response.StatusCode, response.StatusCode == HttpStatusCode.NoContent ? default : JsonDocument.Parse(text).RootElement);
    }
}
