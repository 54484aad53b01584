using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text.Json.Nodes;
using OpenAI;
using OpenAI.Chat;
using ScriptedServe.EndToEnd.Tests.Support;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>The official OpenAI packages, as their users call them, against a host with its engines.</summary>
public sealed class ClientTests(ClientTests.Host fixture) : IClassFixture<ClientTests.Host>
{
    private static readonly ChatMessage[] Conversation = [new SystemChatMessage("You tell stories."), new UserChatMessage("Tell me about a fox.")];

    public sealed class Host : IAsyncLifetime
    {
        public HostProcess Process { get; private set; } = null!;

        public async Task InitializeAsync() => Process = await HostProcess.StartAsync();

        public Task DisposeAsync() => Process.DisposeAsync().AsTask();
    }

    public static TheoryData<string?> Routers => [null, "pd_disagg"];

    private HostProcess Server => fixture.Process;

    [Theory]
    [MemberData(nameof(Routers))]
    public async Task The_NET_package_gets_the_same_answer_whole_and_in_pieces(string? router)
    {
        var chat = await ChatAsync(router);
        ChatCompletion whole = await chat.CompleteChatAsync(Conversation, Options());

        var (text, logprobs, reason, usage, pieces) = ("", new List<string>(), default(ChatFinishReason?), default(ChatTokenUsage), 0);
        await foreach (var update in chat.CompleteChatStreamingAsync(Conversation, Options()))
        {
            pieces += update.ContentUpdate.Count;
            text += string.Concat(update.ContentUpdate.Select(part => part.Text));
            logprobs.AddRange(update.ContentTokenLogProbabilities.Select(Describe));
            reason ??= update.FinishReason;
            usage ??= update.Usage;
        }

        Assert.True(pieces > 3, $"{pieces} pieces are no stream");
        Assert.Equal(whole.Content.Single().Text, text);
        Assert.Equal(whole.ContentTokenLogProbabilities.Select(Describe), logprobs);
        Assert.Equal((whole.FinishReason, whole.Usage.InputTokenCount, whole.Usage.OutputTokenCount), (reason!.Value, usage!.InputTokenCount, usage.OutputTokenCount));

        Assert.Equal((ChatMessageRole.Assistant, chat.Model), (whole.Role, whole.Model));
        Assert.InRange(whole.Usage.OutputTokenCount, 1, 32);
        Assert.Equal(whole.Usage.InputTokenCount + whole.Usage.OutputTokenCount, whole.Usage.TotalTokenCount);
        Assert.All(whole.ContentTokenLogProbabilities, token =>
        {
            Assert.InRange(token.LogProbability, float.NegativeInfinity, 0f);
            Assert.Equal(2, token.TopLogProbabilities.Count);
        });
        await Server.NothingIsHeldAsync();
    }

    [Theory]
    [MemberData(nameof(Routers))]
    public async Task The_NET_package_stops_at_its_stop_string(string? router)
    {
        var chat = await ChatAsync(router);
        var whole = (await chat.CompleteChatAsync(Conversation, Options())).Value.Content.Single().Text;
        var stop = whole.Substring(8, 3);
        var options = Options();
        options.StopSequences.Add(stop);

        ChatCompletion stopped = await chat.CompleteChatAsync(Conversation, options);

        Assert.Equal((whole[..whole.IndexOf(stop, StringComparison.Ordinal)], ChatFinishReason.Stop), (stopped.Content.Single().Text, stopped.FinishReason));
    }

    [Fact]
    public async Task The_NET_package_lists_models_and_reports_errors()
    {
        var client = Client(null);
        var model = (await client.GetOpenAIModelClient().GetModelsAsync()).Value.Single();
        Assert.Equal(model.Id, (await client.GetOpenAIModelClient().GetModelAsync(model.Id)).Value.Id);

        var unknown = await Assert.ThrowsAsync<ClientResultException>(() => client.GetChatClient("gpt-9").CompleteChatAsync(Conversation));
        Assert.Equal(404, unknown.Status);
        Assert.Contains("gpt-9", unknown.Message, StringComparison.Ordinal);

        var bad = await Assert.ThrowsAsync<ClientResultException>(() => client.GetChatClient(model.Id).CompleteChatAsync(Conversation, new ChatCompletionOptions { TopP = 7 }));
        Assert.Equal(400, bad.Status);
        Assert.Contains("top_p", bad.Message, StringComparison.Ordinal);

        var nobody = await Assert.ThrowsAsync<ClientResultException>(() => Client("nobody").GetChatClient(model.Id).CompleteChatAsync(Conversation));
        Assert.Equal(404, nobody.Status);
        Assert.Contains("nobody", nobody.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Routers))]
    public async Task The_NET_package_leaves_mid_stream_and_frees_its_pages(string? router)
    {
        var chat = await ChatAsync(router);
        using var leave = new CancellationTokenSource();
        var pieces = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in chat.CompleteChatStreamingAsync(Conversation, new ChatCompletionOptions { MaxOutputTokenCount = 1500 }, leave.Token))
            {
                if (++pieces == 3)
                {
                    await leave.CancelAsync();
                }
            }
        });
        Assert.Equal(3, pieces);
        await Server.NothingIsHeldAsync();
    }

    [RequiresFact(Need.Node)]
    public async Task The_npm_package_sees_one_answer_through_every_router_whole_and_in_pieces()
    {
        string? expected = null;
        foreach (var router in (string[])["", "pd_disagg"])
        {
            var seen = JsonNode.Parse(await NodePeers.RunAsync("openai-host.mjs", new Uri(Server.Url, "v1").ToString(), router))!.AsObject();
            Assert.Equal((string)seen["model"]!, (string)seen["retrieved"]!);

            foreach (var kind in (string[])["chat", "text"])
            {
                var (whole, stream) = (seen[kind]!, seen[kind + "Stream"]!);
                foreach (var part in (string[])["text", "reason", "usage", "logprobs"])
                {
                    Assert.Equal(whole[part]!.ToJsonString(), stream[part]!.ToJsonString());
                }

                var usage = whole["usage"]!.AsArray().Select(count => (int)count!).ToArray();
                Assert.True(usage[0] > 0 && usage[1] is > 0 and <= 32 && usage[0] + usage[1] == usage[2], whole["usage"]!.ToJsonString());
            }

            Assert.Equal((string)seen["chat"]!["text"]!, (string)seen["assembled"]!);
            Assert.Equal(string.Concat(seen["text"]!["logprobs"]!["tokens"]!.AsArray()), (string)seen["text"]!["text"]!);

            var three = seen["three"]!.AsArray().Select(choice => (string)choice!).ToArray();
            Assert.Equal(three, seen["threeStream"]!.AsArray().Select(choice => (string)choice!));
            Assert.Equal("0: " + (string)seen["text"]!["text"]!, three[0]);
            Assert.Equal(3, three.Select(choice => choice[3..]).Distinct().Count());

            var (text, stopped) = ((string)seen["text"]!["text"]!, seen["stopped"]!);
            Assert.Equal((text[..text.IndexOf((string)stopped["stop"]!, StringComparison.Ordinal)], "stop"), ((string)stopped["text"]!, (string)stopped["reason"]!));

            Assert.Equal("NotFoundError 404 model_not_found model", (string)seen["unknownModel"]!);
            Assert.Equal("BadRequestError 400 invalid_value top_p", (string)seen["badValue"]!);
            Assert.StartsWith("BadRequestError 400", (string)seen["badPrompt"]!, StringComparison.Ordinal);
            Assert.EndsWith(" prompt", (string)seen["badPrompt"]!, StringComparison.Ordinal);
            Assert.Equal("no error", (string)seen["unknownField"]!);

            // Pieces that had arrived before the abort may still be handed out.
            Assert.InRange((int)seen["abandoned"]!, 3, 1000);
            await Server.NothingIsHeldAsync();

            // All the rest is the same whichever way the request went.
            seen.Remove("abandoned");
            expected ??= seen.ToJsonString();
            Assert.Equal(expected, seen.ToJsonString());
        }
    }

    private static ChatCompletionOptions Options() => new()
    {
        MaxOutputTokenCount = 32,
        Temperature = 1,
        Seed = 11,
        IncludeLogProbabilities = true,
        TopLogProbabilityCount = 2,
    };

    private static string Describe(ChatTokenLogProbabilityDetails token) =>
        $"{token.Token} {token.LogProbability:R} {string.Join(' ', token.TopLogProbabilities.Select(top => $"{top.Token}={top.LogProbability:R}"))}";

    private async Task<ChatClient> ChatAsync(string? router)
    {
        var client = Client(router);
        return client.GetChatClient((await client.GetOpenAIModelClient().GetModelsAsync()).Value.Single().Id);
    }

    private OpenAIClient Client(string? router)
    {
        var options = new OpenAIClientOptions { Endpoint = new Uri(Server.Url, "v1"), RetryPolicy = new ClientRetryPolicy(0) };
        if (router is not null)
        {
            options.AddPolicy(new RouterHeader(router), PipelinePosition.PerCall);
        }

        return new OpenAIClient(new ApiKeyCredential("any"), options);
    }

    /// <summary>Picks the router as the package lets its users set headers.</summary>
    private sealed class RouterHeader(string router) : PipelinePolicy
    {
        public override void Process(PipelineMessage message, IReadOnlyList<PipelinePolicy> pipeline, int currentIndex)
        {
            message.Request.Headers.Set("X-Router", router);
            ProcessNext(message, pipeline, currentIndex);
        }

        public override ValueTask ProcessAsync(PipelineMessage message, IReadOnlyList<PipelinePolicy> pipeline, int currentIndex)
        {
            message.Request.Headers.Set("X-Router", router);
            return ProcessNextAsync(message, pipeline, currentIndex);
        }
    }
}
