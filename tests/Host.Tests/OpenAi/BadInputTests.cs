using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.Host.OpenAi;

namespace ScriptedServe.Host.Tests.OpenAi;

public class BadInputTests
{
    private const string Completions = "/v1/completions";
    private const string Chat = "/v1/chat/completions";

    /// <summary>Each with the fields of one otherwise good request, the parameter that is blamed and the code.</summary>
    private static readonly (string Fields, string Param, string Code)[] s_both =
    [
        ("'temperature': 'hot'", "temperature", "invalid_value"),
        ("'temperature': 2.1", "temperature", "invalid_value"),
        ("'temperature': -0.1", "temperature", "invalid_value"),
        ("'temperature': 1e999", "temperature", "invalid_value"),
        ("'top_p': 0", "top_p", "invalid_value"),
        ("'top_p': 1e-60", "top_p", "invalid_value"),
        ("'top_p': [1]", "top_p", "invalid_value"),
        ("'top_k': -2", "top_k", "invalid_value"),
        ("'top_k': 1.5", "top_k", "invalid_value"),
        ("'min_p': 1.01", "min_p", "invalid_value"),
        ("'presence_penalty': 3", "presence_penalty", "invalid_value"),
        ("'frequency_penalty': -2.5", "frequency_penalty", "invalid_value"),
        ("'repetition_penalty': 0", "repetition_penalty", "invalid_value"),
        ("'logit_bias': [1]", "logit_bias", "invalid_value"),
        ("'logit_bias': {'5': 101}", "logit_bias", "invalid_value"),
        ("'logit_bias': {'5': null}", "logit_bias", "invalid_value"),
        ("'logit_bias': {'258': 1}", "logit_bias", "invalid_token_id"),
        ("'logit_bias': {'a': 1}", "logit_bias", "invalid_token_id"),
        ("'max_tokens': -1", "max_tokens", "invalid_value"),
        ("'max_tokens': 0", "max_tokens", "invalid_value"),
        ("'max_tokens': 99999999999", "max_tokens", "invalid_value"),
        ("'max_tokens': '5'", "max_tokens", "invalid_value"),
        ("'max_tokens': 5, 'min_tokens': 6", "min_tokens", "invalid_value"),
        ("'n': 0", "n", "invalid_value"),
        ("'n': 17", "n", "invalid_value"),
        ("'seed': 1.5", "seed", "invalid_value"),
        ("'seed': 'x'", "seed", "invalid_value"),
        ("'stop': ''", "stop", "invalid_value"),
        ("'stop': 5", "stop", "invalid_value"),
        ("'stop': ['a', 5]", "stop", "invalid_value"),
        ("'stop': ['1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17']", "stop", "invalid_value"),
        ("'stop_token_ids': [258]", "stop_token_ids", "invalid_token_id"),
        ("'stream': 'yes'", "stream", "invalid_value"),
        ("'stream_options': {'include_usage': true}", "stream_options", "invalid_value"),
        ("'stream': true, 'stream_options': {'include_usage': 1}", "stream_options.include_usage", "invalid_value"),
        ("'ignore_eos': 1", "ignore_eos", "invalid_value"),
        ("'user': 7", "user", "invalid_value"),
        ("'model': 7", "model", "invalid_value"),
    ];

    private static readonly (string Body, string Param, string Code)[] s_completions =
    [
        ("{}", "prompt", "missing_required_parameter"),
        ("{'prompt': null}", "prompt", "missing_required_parameter"),
        ("{'prompt': ''}", "prompt", "empty_prompt"),
        ("{'prompt': []}", "prompt", "empty_prompt"),
        ("{'prompt': [[]]}", "prompt", "empty_prompt"),
        ("{'prompt': ['a', '']}", "prompt", "empty_prompt"),
        ("{'prompt': 5}", "prompt", "invalid_value"),
        ("{'prompt': {'a': 1}}", "prompt", "invalid_value"),
        ("{'prompt': ['a', 5]}", "prompt", "invalid_value"),
        ("{'prompt': [5, 'a']}", "prompt", "invalid_token_id"),
        ("{'prompt': [5, 258]}", "prompt", "invalid_token_id"),
        ("{'prompt': [-1]}", "prompt", "invalid_token_id"),
        ("{'prompt': [[1], [1.5]]}", "prompt", "invalid_token_id"),
        ("{'prompt': 'a', 'suffix': 'b'}", "suffix", "unsupported_parameter"),
        ("{'prompt': 'a', 'best_of': 2}", "best_of", "unsupported_parameter"),
        ("{'prompt': 'a', 'echo': true, 'logprobs': 1}", "echo", "unsupported_parameter"),
        ("{'prompt': 'a', 'logprobs': 21}", "logprobs", "invalid_value"),
        ("{'prompt': 'a', 'logprobs': true}", "logprobs", "invalid_value"),
        ("{'prompt': ['a','b','c','d','e','f','g','h','i'], 'n': 16}", "n", "invalid_value"),
        ("{'prompt': '" + new string('x', 1000) + "'}", "prompt", "context_length_exceeded"),
    ];

    private static readonly (string Body, string Param, string Code)[] s_chats =
    [
        ("{}", "messages", "missing_required_parameter"),
        ("{'messages': []}", "messages", "empty_prompt"),
        ("{'messages': 'hello'}", "messages", "invalid_value"),
        ("{'messages': ['hello']}", "messages[0]", "invalid_value"),
        ("{'messages': [{'content': 'a'}]}", "messages[0].role", "missing_required_parameter"),
        ("{'messages': [{'role': 'king', 'content': 'a'}]}", "messages[0].role", "invalid_value"),
        ("{'messages': [{'role': 5, 'content': 'a'}]}", "messages[0].role", "invalid_value"),
        ("{'messages': [{'role': 'user'}]}", "messages[0].content", "missing_required_parameter"),
        ("{'messages': [{'role': 'assistant', 'content': null}]}", "messages[0].content", "missing_required_parameter"),
        ("{'messages': [{'role': 'user', 'content': 5}]}", "messages[0].content", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': ['a']}]}", "messages[0].content[0]", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': [{'type': 'text'}]}]}", "messages[0].content[0].text", "missing_required_parameter"),
        ("{'messages': [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {}}]}]}", "messages[0].content[0].type", "unsupported_parameter"),
        ("{'messages': [{'role': 'user', 'content': 'refuse'}]}", "messages", "chat_template_error"),
        ("{'messages': [{'role': 'user', 'content': '" + new string('x', 1000) + "'}]}", "messages", "context_length_exceeded"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'top_logprobs': 2}", "top_logprobs", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'logprobs': 1}", "logprobs", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'logprobs': true, 'top_logprobs': 21}", "top_logprobs", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'response_format': {'type': 'json_object'}}", "response_format", "unsupported_parameter"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'response_format': 'text'}", "response_format", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'tools': [5]}", "tools", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'tool_choice': 'required'}", "tool_choice", "unsupported_parameter"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'max_completion_tokens': -5}", "max_completion_tokens", "invalid_value"),
        ("{'messages': [{'role': 'user', 'content': 'a'}], 'chat_template_kwargs': []}", "chat_template_kwargs", "invalid_value"),
    ];

    [Fact]
    public async Task A_wrong_value_is_a_400_that_names_the_parameter_and_starts_nothing()
    {
        await using var api = await ApiServer.StartAsync();
        var cases = s_both.SelectMany(one => new[]
            {
                (Completions, $"{{'prompt': 'a', {one.Fields}}}", one.Param, one.Code),
                (Chat, $"{{'messages': [{{'role': 'user', 'content': 'a'}}], {one.Fields}}}", one.Param, one.Code),
            })
            .Concat(s_completions.Select(one => (Completions, one.Body, one.Param, one.Code)))
            .Concat(s_chats.Select(one => (Chat, one.Body, one.Param, one.Code)));
        foreach (var (path, body, param, code) in cases)
        {
            var error = await ErrorAsync(await api.PostAsync(path, body.Replace('\'', '"')), 400);
            Assert.True((param, code, "invalid_request_error") == ((string?)error["param"], (string?)error["code"], (string?)error["type"]), $"{path} {body} -> {error.ToJsonString()}");
            if (code is not ("context_length_exceeded" or "chat_template_error"))
            {
                Assert.Contains("'" + param.Split('.')[0], (string?)error["message"]);
            }
        }

        Assert.Empty(api.Runner.Started);
    }

    [Fact]
    public async Task A_message_says_what_must_be_and_what_is()
    {
        await using var api = await ApiServer.StartAsync();

        async Task<string> MessageAsync(string body) => (string)(await ErrorAsync(await api.PostAsync(Completions, body), 400))["message"]!;

        Assert.Equal("'temperature' must be a number between 0 and 2, got \"hot\".", await MessageAsync("""{"prompt":"a","temperature":"hot"}"""));
        Assert.Equal("'n' must be an integer between 1 and 16, got 50.", await MessageAsync("""{"prompt":"a","n":50}"""));
        Assert.Contains("1201 tokens; the model's context is 1000", await MessageAsync($$"""{"prompt":"{{new string('x', 1200)}}"}"""));
        Assert.Contains("between 0 and 257, got 300", await MessageAsync("""{"prompt":[300]}"""));
    }

    [Theory]
    [InlineData("", "empty_body")]
    [InlineData("{\"prompt\": ", "invalid_json")]
    [InlineData("{'prompt': 1}", "invalid_json")]
    [InlineData("{} {}", "invalid_json")]
    [InlineData("[]", "invalid_json")]
    [InlineData("{\"prompt\": \"a\", \"prompt\": \"b\"}", "invalid_json")]
    [InlineData("{\"prompt\": \"\\ud800\"}", "invalid_json")]
    [InlineData("{\"x\": \"\xff\"}", "invalid_utf8")]
    public async Task A_body_that_is_no_JSON_object_is_a_400(string latin1, string code)
    {
        await using var api = await ApiServer.StartAsync();
        foreach (var path in new[] { Completions, Chat })
        {
            var error = await ErrorAsync(await api.Http.PostAsync(path, new ByteArrayContent(Encoding.Latin1.GetBytes(latin1))), 400);
            Assert.Equal(code, (string?)error["code"]);
        }

        Assert.Empty(api.Runner.Started);
    }

    [Fact]
    public async Task Deeply_nested_JSON_is_a_400()
    {
        await using var api = await ApiServer.StartAsync();
        var error = await ErrorAsync(await api.PostAsync(Completions, "{\"prompt\": " + new string('[', 100_000)), 400);
        Assert.Equal("invalid_json", (string?)error["code"]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_body_over_the_limit_is_a_413_that_names_it(bool isChunked)
    {
        await using var api = await ApiServer.StartAsync();
        var content = new StringContent("{\"prompt\": \"" + new string('x', 10_000_000) + "\"}");
        using var request = new HttpRequestMessage(HttpMethod.Post, Completions) { Content = content };
        request.Headers.TransferEncodingChunked = isChunked;

        var error = await ErrorAsync(await api.Http.SendAsync(request), 413);

        Assert.Equal("body_too_large", (string?)error["code"]);
        Assert.Contains("8388608", (string?)error["message"]);
        Assert.Empty(api.Runner.Started);
        Assert.NotNull(await api.GetJsonAsync(Completions, """{"prompt":"a"}"""));
    }

    [Theory]
    [InlineData("GET", "/v1/completions", 405, "method_not_allowed")]
    [InlineData("DELETE", "/v1/chat/completions", 405, "method_not_allowed")]
    [InlineData("POST", "/v1/models", 405, "method_not_allowed")]
    [InlineData("POST", "/v1/embeddings", 404, "unknown_url")]
    [InlineData("GET", "/v1", 404, "unknown_url")]
    [InlineData("GET", "/v1/models/gpt-4", 404, "model_not_found")]
    public async Task A_wrong_method_or_route_gets_an_error_object(string method, string path, int status, string code)
    {
        await using var api = await ApiServer.StartAsync();
        using var response = await api.Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
        Assert.Equal(status == 405, response.Content.Headers.Allow.Count == 1);
        Assert.Equal(code, (string?)(await ErrorAsync(response, status))["code"]);
    }

    [Fact]
    public async Task An_unknown_model_or_router_is_a_404()
    {
        await using var api = await ApiServer.StartAsync();
        var model = await ErrorAsync(await api.PostAsync(Completions, """{"model":"gpt-4","prompt":"a"}"""), 404);
        Assert.Equal(("model", "model_not_found"), ((string?)model["param"], (string?)model["code"]));
        var router = await ErrorAsync(await api.PostAsync(Chat, """{"messages":[{"role":"user","content":"a"}],"n":3}""", ("X-Router", "none")), 404);
        Assert.Equal(("X-Router", "router_not_found"), ((string?)router["param"], (string?)router["code"]));
    }

    [Fact]
    public async Task A_key_is_asked_of_every_call_where_one_is_set()
    {
        await using var api = await ApiServer.StartAsync(new OpenAiOptions { ApiKey = "sesame" });
        foreach (var header in new[] { null, "Bearer", "Bearer x", "Basic sesame", "Bearer sesame2" })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
            request.Headers.TryAddWithoutValidation("Authorization", header);
            var error = await ErrorAsync(await api.Http.SendAsync(request), 401);
            Assert.Equal("invalid_api_key", (string?)error["code"]);
        }

        using var response = await api.PostAsync(Completions, """{"prompt":"a"}""", ("Authorization", "Bearer sesame"));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.DoesNotContain("Authorization", api.Runner.Started.Single().Headers.Keys);
    }

    [Fact]
    public async Task Chat_without_a_template_is_refused()
    {
        await using var api = await ApiServer.StartAsync(withTemplate: false);
        var error = await ErrorAsync(await api.PostAsync(Chat, """{"messages":[{"role":"user","content":"a"}]}"""), 400);
        Assert.Equal("no_chat_template", (string?)error["code"]);
    }

    [Fact]
    public async Task Unknown_fields_nulls_and_odd_content_types_are_taken()
    {
        await using var api = await ApiServer.StartAsync();
        var body = """{"prompt":"a","service_tier":{"x":[1]},"stop":null,"n":null,"logit_bias":null,"max_tokens":3.0,"seed":-5,"stream_options":null}""";
        using var response = await api.Http.PostAsync(Completions, new StringContent(body, Encoding.UTF8, "text/plain"));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var spec = api.Runner.Started.Single();
        Assert.Equal((3, unchecked((ulong)-5L)), (spec.Sampling.MaxTokens, spec.Sampling.Seed));
    }

    [Fact]
    public async Task Half_a_request_and_then_silence_holds_nothing()
    {
        await using var api = await ApiServer.StartAsync();
        using (var client = new TcpClient(api.Url.Host, api.Url.Port))
        {
            await client.GetStream().WriteAsync("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"prompt\""u8.ToArray());
        }

        Assert.NotNull(await api.GetJsonAsync(Completions, """{"prompt":"a"}"""));
        Assert.Single(api.Runner.Started);
    }

    private static async Task<JsonNode> ErrorAsync(HttpResponseMessage response, int status)
    {
        using (response)
        {
            var text = await response.Content.ReadAsStringAsync();
            Assert.True(status == (int)response.StatusCode, $"{(int)response.StatusCode} {text}");
            Assert.StartsWith("req-", response.Headers.GetValues("X-Request-Id").Single());
            return JsonNode.Parse(text)!["error"]!;
        }
    }
}
