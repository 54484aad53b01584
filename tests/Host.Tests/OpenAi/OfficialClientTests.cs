using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text.Json.Nodes;
using OpenAI;
using OpenAI.Chat;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.OpenAi;

/// <summary>The API as the official clients see it.</summary>
public class OfficialClientTests
{
    [Fact]
    public async Task The_NET_package_chats()
    {
        await using var api = await ApiServer.StartAsync(new OpenAiOptions { ApiKey = "sesame" });
        var chat = Client(api, "sesame").GetChatClient(ApiServer.Model);
        var options = new ChatCompletionOptions { MaxOutputTokenCount = 50, Temperature = 0.3f, Seed = 7, IncludeLogProbabilities = true, TopLogProbabilityCount = 1, StopSequences = { "rld" } };

        ChatCompletion reply = await chat.CompleteChatAsync([new SystemChatMessage("Be brief."), new UserChatMessage("Hi")], options);

        Assert.Equal("Hello, wö", reply.Content.Single().Text);
        Assert.Equal((ChatFinishReason.Stop, ChatMessageRole.Assistant, ApiServer.Model), (reply.FinishReason, reply.Role, reply.Model));
        Assert.Equal(13, reply.Usage.OutputTokenCount);
        Assert.Equal(10, reply.ContentTokenLogProbabilities.Count);
        Assert.Equal((7UL, 50, 0.3f), (api.Runner.Started[0].Sampling.Seed, api.Runner.Started[0].Sampling.MaxTokens, api.Runner.Started[0].Sampling.Temperature));
    }

    [Fact]
    public async Task The_NET_package_streams()
    {
        await using var api = await ApiServer.StartAsync();
        var text = "";
        ChatFinishReason? reason = null;
        ChatTokenUsage? usage = null;
        await foreach (var update in Client(api).GetChatClient(ApiServer.Model).CompleteChatStreamingAsync(new UserChatMessage("Hi")))
        {
            text += string.Concat(update.ContentUpdate.Select(part => part.Text));
            reason ??= update.FinishReason;
            usage ??= update.Usage;
        }

        Assert.Equal(("Hello, wörld!", ChatFinishReason.Stop, 15), (text, reason!.Value, usage!.OutputTokenCount));
    }

    [Fact]
    public async Task The_NET_package_lists_models_and_reports_errors()
    {
        await using var api = await ApiServer.StartAsync();
        var client = Client(api);
        Assert.Equal(ApiServer.Model, (await client.GetOpenAIModelClient().GetModelsAsync()).Value.Single().Id);

        var unknown = await Assert.ThrowsAsync<ClientResultException>(() => client.GetChatClient("gpt-4").CompleteChatAsync(new UserChatMessage("Hi")));
        Assert.Equal(404, unknown.Status);
        Assert.Contains("model_not_found", unknown.Message);

        api.Runner.OnRun = (_, _) => throw new EngineException("e0", EngineError.Overloaded, "all pages are taken");
        var full = await Assert.ThrowsAsync<ClientResultException>(() => client.GetChatClient(ApiServer.Model).CompleteChatAsync(new UserChatMessage("Hi")));
        Assert.Equal(429, full.Status);
        Assert.Contains("all pages are taken", full.Message);
    }

    [RequiresFact(Need.Node)]
    public async Task The_npm_package_completes_chats_streams_and_reports_errors()
    {
        await using var api = await ApiServer.StartAsync(new OpenAiOptions { ApiKey = "sesame" });
        var count = 0;
        api.Runner.OnRun = (spec, cancellationToken) => spec.PromptTokens.Span[^1] switch
        {
            '!' => throw new EngineException("e0", EngineError.Overloaded, "all pages are taken", TimeSpan.FromSeconds(2)),
            '?' => BreakOff(api.Runner, spec, cancellationToken),
            '+' => Forever(api.Runner, cancellationToken),
            _ => api.Runner.Say(spec, $"Hello, wörld {Interlocked.Increment(ref count)}!", cancellationToken),
        };

        var seen = JsonNode.Parse(await NodePeers.RunAsync("openai-client.mjs", api.Url + "v1", "sesame"))!;

        Assert.Equal(["org/test", "org/test"], seen["models"]!.AsArray().Select(m => (string)m!));
        Assert.Equal("Hello, wörld 1!|stop|17", (string)seen["chat"]!);
        Assert.Equal("Hello, wörld 2!|stop|17", (string)seen["chatStream"]!);
        Assert.Equal("Hello|length|5", (string)seen["completion"]!);
        Assert.Equal("Hello, w|stop|10", (string)seen["completionStream"]!);
        Assert.Equal("H,e,l", (string)seen["logprobs"]!);
        Assert.Equal("NotFoundError 404 model_not_found model", (string)seen["unknownModel"]!);
        Assert.Equal("BadRequestError 400 invalid_value temperature", (string)seen["badValue"]!);
        Assert.Equal("AuthenticationError 401 invalid_api_key null", (string)seen["badKey"]!);
        Assert.Equal("RateLimitError 429 overloaded null", (string)seen["overloaded"]!);
        Assert.Equal("abc then router_failed", (string)seen["brokenStream"]!);
        Assert.Equal("left after 3", (string)seen["abandoned"]!);
        while (await api.Runner.NextEventAsync() != "cancelled")
        {
        }
    }

    private static OpenAIClient Client(ApiServer api, string key = "any") =>
        new(new ApiKeyCredential(key), new OpenAIClientOptions { Endpoint = new Uri(api.Url, "v1"), RetryPolicy = new ClientRetryPolicy(0) });

    private static async IAsyncEnumerable<Chunk> BreakOff(FakeRunner runner, RequestSpec spec, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var chunk in runner.Say(spec, "abc", cancellationToken))
        {
            if (chunk.FinishReason is not null)
            {
                throw new RouterFailedException("pd.csx@3 line 7: boom");
            }

            yield return chunk;
        }
    }

    private static async IAsyncEnumerable<Chunk> Forever(FakeRunner runner, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return new() { Tokens = new[] { 'x' + 0 } };
            await Task.Yield();
        }
    }
}
