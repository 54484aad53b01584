using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Text;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.OpenAi;

/// <summary>The API on a real socket, before a fake runner. The model is named org/test, has 256 bytes and 2 special tokens, and a context of 1000.</summary>
internal sealed class ApiServer : IAsyncDisposable
{
    public const string Model = "org/test";
    private readonly WebApplication _app;

    private ApiServer(WebApplication app, FakeRunner runner, FakeTimeProvider time)
    {
        Time = time;
        _app = app;
        Runner = runner;
        Http = new() { BaseAddress = new Uri(app.Urls.Single()), Timeout = TimeSpan.FromSeconds(30) };
    }

    public FakeRunner Runner { get; }

    public HttpClient Http { get; }

    public FakeTimeProvider Time { get; }

    public Uri Url => Http.BaseAddress!;

    public static async Task<ApiServer> StartAsync(OpenAiOptions? options = null, bool withTemplate = true)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var runner = new FakeRunner();
        var random = new Random(1);
        builder.Services.AddSingleton<IRequestRunner>(runner);
        builder.Services.AddSingleton<ITokenizer>(TableTokenizer.Bytes);
        if (withTemplate)
        {
            builder.Services.AddSingleton<IChatTemplate>(new PlainTemplate());
        }

        builder.Services.AddSingleton(new ModelFacts(Model, 1000, TableTokenizer.Bytes.VocabSize, new Sampling { Temperature = 0.5f, TopK = 40 }));
        var time = new FakeTimeProvider(DateTimeOffset.FromUnixTimeSeconds(1_700_000_000));
        builder.Services.AddSingleton<TimeProvider>(time);
        builder.Services.AddSingleton<RandomBits>(() =>
        {
            lock (random)
            {
                return (ulong)random.NextInt64();
            }
        });
        builder.Services.AddOpenAi(options ?? new());
        var app = builder.Build();
        app.MapOpenAi();
        await app.StartAsync();
        return new(app, runner, time);
    }

    public Task<HttpResponseMessage> PostAsync(string path, string body, params (string Name, string Value)[] headers)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, path)
        {
            Content = new ByteArrayContent(Encoding.UTF8.GetBytes(body)) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } },
        };
        foreach (var (name, value) in headers)
        {
            request.Headers.Add(name, value);
        }

        return Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
    }

    public async Task<JsonNode> GetJsonAsync(string path, string body, int status = 200)
    {
        using var response = await PostAsync(path, body);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, text);
        return JsonNode.Parse(text)!;
    }

    /// <summary>The events' data, "[DONE]" included.</summary>
    public async Task<List<string>> GetEventsAsync(string path, string body)
    {
        using var response = await PostAsync(path, body);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        return Events(await response.Content.ReadAsStringAsync());
    }

    public static List<string> Events(string body)
    {
        Assert.EndsWith("\n\n", body);
        return [.. body.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(line =>
        {
            Assert.StartsWith("data: ", line);
            return line["data: ".Length..];
        })];
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await _app.StopAsync();
        await _app.DisposeAsync();
        // Whatever a test did, nothing stays behind.
        Assert.Equal(0, Runner.Held);
    }
}
