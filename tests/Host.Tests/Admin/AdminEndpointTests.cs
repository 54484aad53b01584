using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Logging;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Commands;
using ScriptedServe.Host.Dashboard;
using ScriptedServe.Host.Metrics;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Host.Tests.Requests;

namespace ScriptedServe.Host.Tests.Admin;

/// <summary>The admin API over real HTTP, on fake engines.</summary>
public sealed class AdminEndpointTests : IAsyncLifetime, IDisposable
{
    private readonly FakeEngine a = new("a");
    private readonly FakeEngine b = new("b");
    private FakeWorld world = null!;
    private HostEvents events = null!;
    private WebApplication app = null!;
    private HttpClient http = null!;

    public async Task InitializeAsync()
    {
        world = await FakeWorld.WithAsync(a, b);
        world.Router = request => HoldsTests.Disaggregated(world, request);
        events = new HostEvents(TimeProvider.System);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        app = builder.Build();
        app.UseErrorObjects();
        app.UseAdminAuth(new AdminAuth(null));
        app.MapEngineAdmin(world.Fleet, local: null);
        app.MapRequestAdmin(world.Traces);
        app.MapEventAdmin(events, app.Lifetime.ApplicationStopping);
        app.MapHealth(new Readiness(() => [], () => world.Fleet.ServingCount > 0 ? null : world.Fleet.WhyEmpty()), new HostMetrics(world.Fleet, world.Traces));
        app.MapDashboard();
        await app.StartAsync();
        http = new HttpClient { BaseAddress = new Uri(app.Urls.First()) };
    }

    public void Dispose() => http.Dispose();

    public async Task DisposeAsync()
    {
        await app.DisposeAsync();
        await world.DisposeAsync();
    }

    [Fact]
    public async Task Engines_are_listed_labelled_drained_and_detached()
    {
        var listed = (await http.GetFromJsonAsync<JsonElement>("/admin/engines")).GetProperty("engines");
        Assert.Equal(["engine-0", "engine-1"], listed.EnumerateArray().Select(engine => engine.GetProperty("id").GetString()));
        Assert.All(listed.EnumerateArray(), engine => Assert.Equal("serving", engine.GetProperty("state").GetString()));

        await Expect(HttpStatusCode.OK, http.PostAsJsonAsync("/admin/engines/engine-1/labels", new { labels = new[] { "decode" } }));
        Assert.Equal("engine-1", Assert.Single(world.Fleet.Scripts.Role("decode")).Id);

        await Expect(HttpStatusCode.Accepted, http.PostAsync("/admin/engines/engine-1/drain", null));
        Assert.Equal("engine-0", Assert.Single(world.Fleet.Scripts).Id);

        await Expect(HttpStatusCode.NoContent, http.DeleteAsync("/admin/engines/engine-1"));
        Assert.Equal("engine-0", Assert.Single(world.Fleet.Members).Id);
    }

    [Fact]
    public async Task What_nothing_answers_gets_an_error_object_too()
    {
        await Refused(HttpStatusCode.NotFound, "not_found", http.GetAsync("/admin/nothing"));
        await Refused(HttpStatusCode.MethodNotAllowed, "method_not_allowed", http.DeleteAsync("/admin/engines"));
        await Refused(HttpStatusCode.BadRequest, "invalid_limit", http.GetAsync("/admin/requests?limit=many"));
        await Refused(HttpStatusCode.BadRequest, "invalid_limit", http.GetAsync("/admin/requests?limit=0"));
        await Refused(HttpStatusCode.BadRequest, "invalid_after", http.GetAsync("/admin/events?after=-1"));
    }

    [Fact]
    public async Task What_cannot_be_done_with_engines_is_refused_with_the_reason()
    {
        var other = new FakeEngine("c");
        other.Status.Model.Id = "large";
        world.Reachable("http://other:1", other);
        world.Reachable("http://engine-0:1", a);

        await Refused(HttpStatusCode.NotFound, "no_such_engine", http.DeleteAsync("/admin/engines/nobody"));
        await Refused(HttpStatusCode.Conflict, "model_mismatch", http.PostAsJsonAsync("/admin/engines", new { url = "http://other:1" }));
        await Refused(HttpStatusCode.Conflict, "engine_exists", http.PostAsJsonAsync("/admin/engines", new { url = "http://engine-0:1", id = "engine-0" }));
        await Refused(HttpStatusCode.BadRequest, "bad_address", http.PostAsJsonAsync("/admin/engines", new { url = "nowhere" }));
        await Refused(HttpStatusCode.BadRequest, "bad_body", http.PostAsync("/admin/engines", new StringContent("{")));
        await Refused(HttpStatusCode.BadRequest, "bad_label", http.PostAsJsonAsync("/admin/engines/engine-0/labels", new { labels = new[] { "a b" } }));
        await Refused(HttpStatusCode.Conflict, "not_possible", http.PostAsync("/admin/engines/engine-0/restart", null));
        await Refused(HttpStatusCode.NotFound, "no_such_request", http.GetAsync("/admin/requests/req-none"));
        Assert.Equal(2, world.Fleet.Members.Count);
    }

    [Fact]
    public async Task A_foreign_host_or_origin_is_refused_on_every_admin_path_and_nowhere_else()
    {
        await Refused(HttpStatusCode.Forbidden, "forbidden", SendAs("/admin/engines", host: "evil.example"));
        await Refused(HttpStatusCode.Forbidden, "forbidden", SendAs("/admin/not-mapped", origin: "http://evil.example"));
        await Expect(HttpStatusCode.OK, SendAs("/health", host: "evil.example"));
    }

    [Fact]
    public async Task A_request_is_shown_with_its_sub_calls_and_counted_in_the_metrics()
    {
        var spec = world.Spec();
        await world.RunAsync(spec);

        var shown = await http.GetFromJsonAsync<JsonElement>($"/admin/requests/{spec.Id}");
        Assert.Equal(["PrepRecv", "RemoteSend", "StartGenerate"], shown.GetProperty("calls").EnumerateArray().Select(call => call.GetProperty("call").GetString()));
        Assert.Equal(9000, shown.GetProperty("calls")[1].GetProperty("bytes").GetInt64());
        Assert.Equal(1, (await http.GetFromJsonAsync<JsonElement>("/admin/requests")).GetProperty("requests").GetArrayLength());

        using var printed = new StringWriter();
        using var client = new AdminClient(http.BaseAddress!.ToString(), null);
        Assert.Equal(0, await new ClientCommands(client, printed).TraceAsync(spec.Id, default));
        Assert.Contains("engine-0 -> engine-1  RemoteSend(kv on engine-1) [0, 9)  took ", printed.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Metrics_are_prometheus_text_with_histograms_that_add_up()
    {
        var metrics = new HostMetrics(world.Fleet, world.Traces);
        var trace = new RequestTrace("req-1", "pd@1", 10, world.Time);
        world.Time.Advance(TimeSpan.FromMilliseconds(80));
        trace.Emitted(1);
        world.Time.Advance(TimeSpan.FromMilliseconds(90));
        trace.Emitted(9);
        trace.End(CallOutcome.Ok);
        metrics.RequestEnded("pd\"x", trace);

        var text = metrics.Write();
        Assert.Contains("scriptedserve_requests_total{router=\"pd\\\"x\",outcome=\"ok\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("scriptedserve_ttft_seconds_bucket{router=\"pd\\\"x\",le=\"0.05\"} 0\n", text, StringComparison.Ordinal);
        Assert.Contains("scriptedserve_ttft_seconds_bucket{router=\"pd\\\"x\",le=\"0.1\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("scriptedserve_tpot_seconds_bucket{router=\"pd\\\"x\",le=\"0.01\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("scriptedserve_jct_seconds_count{router=\"pd\\\"x\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("scriptedserve_engine_state{engine=\"engine-0\",state=\"serving\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("scriptedserve_engine_kv_pages_total{engine=\"engine-0\"} 64\n", text, StringComparison.Ordinal);
        Assert.Equal(text.Split("# TYPE ").Length - 1, text.Split("# HELP ").Length - 1);
        await Expect(HttpStatusCode.OK, http.GetAsync("/metrics"));
    }

    [Fact]
    public async Task Ready_says_why_not()
    {
        await Expect(HttpStatusCode.OK, http.GetAsync("/ready"));
        a.Die();
        b.Die();
        await FakeWorld.Eventually(() => world.Fleet.ServingCount == 0);

        var reply = await http.GetAsync("/ready");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, reply.StatusCode);
        Assert.Contains("engine-0 is lost", await reply.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await Expect(HttpStatusCode.OK, http.GetAsync("/health"));
    }

    [Fact]
    public async Task Events_arrive_as_they_happen_and_missed_ones_after_a_reconnect()
    {
        events.Publish("router.activated", "pd@1", "pd@1 serves");
        events.Publish("engine.lost", "engine-0", "engine-0 is lost");

        using var request = new HttpRequestMessage(HttpMethod.Get, "/admin/events");
        request.Headers.Add("Last-Event-ID", "1");
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        var first = await ReadEvent();
        events.Publish("router.activated", "pd@2", "pd@2 serves");
        var second = await ReadEvent();

        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        Assert.Contains("event: engine.lost", first, StringComparison.Ordinal);
        Assert.Contains("\"text\":\"pd@2 serves\"", second, StringComparison.Ordinal);
        Assert.Contains("id: 3", second, StringComparison.Ordinal);

        async Task<string> ReadEvent()
        {
            var lines = new List<string>();
            while (await reader.ReadLineAsync() is { Length: > 0 } line)
            {
                lines.Add(line);
            }

            return string.Join('\n', lines);
        }
    }

    [Fact]
    public async Task The_dashboard_is_one_page_without_outside_assets()
    {
        var page = await http.GetStringAsync("/");

        Assert.Contains("<title>ScriptedServe</title>", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http://", page, StringComparison.Ordinal);
        Assert.DoesNotContain("https://", page, StringComparison.Ordinal);
    }

    private async Task<HttpResponseMessage> SendAs(string path, string? host = null, string? origin = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        request.Headers.Host = host;
        if (origin is not null)
        {
            request.Headers.Add("Origin", origin);
        }

        return await http.SendAsync(request);
    }

    private static async Task Expect(HttpStatusCode status, Task<HttpResponseMessage> sent)
    {
        using var reply = await sent;
        Assert.Equal(status, reply.StatusCode);
    }

    private static async Task Refused(HttpStatusCode status, string code, Task<HttpResponseMessage> sent)
    {
        using var reply = await sent;
        Assert.Equal(status, reply.StatusCode);
        var error = (await reply.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("error");
        Assert.Equal(code, error.GetProperty("code").GetString());
        Assert.NotEqual("", error.GetProperty("message").GetString());
    }
}
