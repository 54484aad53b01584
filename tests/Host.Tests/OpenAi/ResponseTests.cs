using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Host.OpenAi;

namespace ScriptedServe.Host.Tests.OpenAi;

public class ResponseTests
{
    private const string Completions = "/v1/completions";
    private const string Chat = "/v1/chat/completions";

    [Fact]
    public async Task Limits_on_the_length_end_where_the_context_does()
    {
        await using var server = await ApiServer.StartAsync();
        await server.GetJsonAsync("/v1/completions", $$"""{"prompt": "{{new string('a', 990)}}", "max_tokens": 500, "min_tokens": 400}""");
        var sampling = Assert.Single(server.Runner.Started).Sampling;
        Assert.Equal((9, 9), (sampling.MinTokens, sampling.MaxTokens));
    }

    [Fact]
    public async Task A_completion_has_text_usage_and_a_finish_reason()
    {
        await using var api = await ApiServer.StartAsync();

        using var response = await api.PostAsync(Completions, """{"model":"org/test","prompt":"Hi","max_tokens":100,"temperature":0.7,"seed":9}""", ("X-Router", "other"), ("X-Tenant", "t1"));
        var reply = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;

        Assert.StartsWith("cmpl-", (string)reply["id"]!);
        Assert.Equal("text_completion 1700000000 org/test", $"{reply["object"]} {reply["created"]} {reply["model"]}");
        Assert.Equal("Hello, wörld!", (string)reply["choices"]![0]!["text"]!);
        Assert.Equal("stop", (string)reply["choices"]![0]!["finish_reason"]!);
        // 14 bytes and the end token; the prompt is the begin token and 2 bytes.
        Assert.Equal("""{"prompt_tokens":3,"completion_tokens":15,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":2}}""", reply["usage"]!.ToJsonString());
        Assert.Equal("other@1", response.Headers.GetValues("X-Router").Single());

        var spec = api.Runner.Started.Single();
        Assert.Equal([TableTokenizer.Begin, 'H', 'i'], spec.PromptTokens.ToArray());
        Assert.Equal((0.7f, 40, 9UL, 100, null), (spec.Sampling.Temperature, spec.Sampling.TopK, spec.Sampling.Seed, spec.Sampling.MaxTokens, spec.Sampling.Logprobs));
        Assert.Equal((response.Headers.GetValues("X-Request-Id").Single(), "t1"), (spec.Id, spec.Headers["x-tenant"]));
    }

    [Fact]
    public async Task What_a_request_leaves_out_comes_from_the_model_and_the_endpoint()
    {
        await using var api = await ApiServer.StartAsync();
        await api.GetJsonAsync(Completions, """{"prompt":"Hi"}""");
        await api.GetJsonAsync(Chat, """{"messages":[{"role":"user","content":"Hi"}]}""");
        await api.GetJsonAsync(Chat, """{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5,"max_completion_tokens":7}""");

        var (completion, chat, limited) = (api.Runner.Started[0], api.Runner.Started[1], api.Runner.Started[2]);
        Assert.Equal((16, 0.5f, 40), (completion.Sampling.MaxTokens, completion.Sampling.Temperature, completion.Sampling.TopK));
        Assert.Equal(1000 - chat.PromptTokens.Length, chat.Sampling.MaxTokens);
        Assert.Equal(7, limited.Sampling.MaxTokens);
        Assert.NotEqual(completion.Sampling.Seed, chat.Sampling.Seed);
    }

    [Fact]
    public async Task A_limit_beyond_the_context_ends_at_the_context()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = _ => new string('x', 5000);

        var reply = await api.GetJsonAsync(Completions, """{"prompt":[1,2,3],"max_tokens":5000}""");

        Assert.Equal((997, "length"), (((string)reply["choices"]![0]!["text"]!).Length, (string)reply["choices"]![0]!["finish_reason"]!));
    }

    [Fact]
    public async Task Prompts_of_every_form_each_get_their_choices()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = spec => $"{Encoding.UTF8.GetString([.. spec.PromptTokens.ToArray().Where(t => t < 256).Select(t => (byte)t)])}/{spec.Id[^2..]}";

        var reply = await api.GetJsonAsync(Completions, """{"prompt":["ab",[99,100],"ef"],"n":2,"seed":5,"echo":true,"best_of":2,"suffix":""}""");

        var choices = reply["choices"]!.AsArray();
        Assert.Equal([0, 1, 2, 3, 4, 5], choices.Select(c => (int)c!["index"]!));
        Assert.Equal(["abab", "abab", "cdcd", "cdcd", "efef", "efef"], choices.Select(c => ((string)c!["text"]!)[..4]));
        Assert.Equal(["-1", "-2", "-3", "-4", "-5"], choices.Skip(1).Select(c => ((string)c!["text"]!)[^2..]));
        // The first choice has the request's seed, the others seeds that follow from it, whatever the prompt.
        var seeds = api.Runner.Started.Select(spec => spec.Sampling.Seed).ToList();
        Assert.Equal([5UL, seeds[1], 5UL, seeds[1], 5UL, seeds[1]], seeds);
        Assert.NotEqual(5UL, seeds[1]);
        Assert.Equal(3 + 2 + 3, (int)reply["usage"]!["prompt_tokens"]!);
        Assert.Equal(3 * 2, (int)reply["usage"]!["prompt_tokens_details"]!["cached_tokens"]!);
    }

    [Theory]
    [InlineData(null, "plain@1")]
    [InlineData("other", "other@1")]
    [InlineData("other@7", "other@7")]
    public async Task All_choices_of_a_request_run_on_one_version_though_the_router_is_swapped_meanwhile(string? asked, string pinned)
    {
        await using var api = await ApiServer.StartAsync();

        using var response = await api.PostAsync(Completions, """{"prompt":["a","b"],"n":3}""", asked is null ? [] : [("X-Router", asked)]);

        Assert.Equal([asked, pinned, pinned, pinned, pinned, pinned], api.Runner.Started.Select(spec => spec.Router));
        Assert.Equal(pinned, response.Headers.GetValues("X-Router").Single());
    }

    [Fact]
    public async Task Chat_messages_reach_the_template_with_their_parts_joined()
    {
        await using var api = await ApiServer.StartAsync();

        var reply = await api.GetJsonAsync(Chat, """
            {"messages":[
              {"role":"developer","content":"Be brief."},
              {"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]},
              {"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
              {"role":"tool","tool_call_id":"c1","content":"7"}],
             "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto","response_format":{"type":"text"},
             "chat_template_kwargs":{"enable_thinking":false}}
            """);

        Assert.Equal(
            "tools: 1\nextra: {\"enable_thinking\":false}\nsystem: Be brief.\nuser: one\ntwo\nassistant: \ntool: 7\nassistant:",
            Encoding.UTF8.GetString([.. api.Runner.Started.Single().PromptTokens.ToArray().Select(t => (byte)t)]));
        Assert.Equal("""{"role":"assistant","content":"Hello, wörld!","refusal":null}""", reply["choices"]![0]!["message"]!.ToJsonString(s_relaxed));
        Assert.StartsWith("chatcmpl-", (string)reply["id"]!);
    }

    [Fact]
    public async Task Logprobs_of_completions_list_the_tokens_of_the_text()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = _ => "aé😀b";

        var reply = await api.GetJsonAsync(Completions, """{"prompt":"x","logprobs":2,"max_tokens":50}""");

        var logprobs = reply["choices"]![0]!["logprobs"]!;
        // The end token is none of the text's; offsets count characters, and a token inside a character has that character's.
        Assert.Equal([0, 1, 1, 2, 2, 2, 2, 3], logprobs["text_offset"]!.Deserialize<int[]>()!);
        Assert.Equal([0, -0.25f, -0.5f, -0.75f, -1, -1.25f, -1.5f, -1.75f], logprobs["token_logprobs"]!.Deserialize<float[]>()!);
        Assert.Equal(("a", "b"), ((string)logprobs["tokens"]![0]!, (string)logprobs["tokens"]![7]!));
        Assert.Equal("""{"a":0,"b":-9999}""", logprobs["top_logprobs"]![0]!.ToJsonString());
    }

    [Fact]
    public async Task Logprobs_of_chat_have_bytes_and_alternatives()
    {
        await using var api = await ApiServer.StartAsync();
        api.Runner.Reply = _ => "aé";

        var reply = await api.GetJsonAsync(Chat, """{"messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":1}""");

        var content = reply["choices"]![0]!["logprobs"]!["content"]!.AsArray();
        Assert.Equal("""{"token":"a","logprob":0,"bytes":[97],"top_logprobs":[{"token":"a","logprob":0,"bytes":[97]}]}""", content[0]!.ToJsonString());
        Assert.Equal([0xc3, 0xa9], content.Skip(1).SelectMany(c => c!["bytes"]!.Deserialize<int[]>()!));
    }

    [Fact]
    public async Task The_model_is_listed_and_found_by_its_id()
    {
        await using var api = await ApiServer.StartAsync();
        var list = JsonNode.Parse(await api.Http.GetStringAsync("/v1/models"))!;
        Assert.Equal("org/test", (string)list["data"]!.AsArray().Single()!["id"]!);
        foreach (var path in new[] { "/v1/models/org/test", "/v1/models/org%2Ftest" })
        {
            Assert.Equal(1000, (int)JsonNode.Parse(await api.Http.GetStringAsync(path))!["max_model_len"]!);
        }
    }

    [Fact]
    public void Seeds_of_further_choices_differ()
    {
        var seeds = Enumerable.Range(0, 16).SelectMany(i => new[] { OpenAiService.SeedOf(0, i), OpenAiService.SeedOf(1, i) }).ToList();
        Assert.Equal(seeds.Count, seeds.Distinct().Count());
    }

    private static readonly JsonSerializerOptions s_relaxed = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
