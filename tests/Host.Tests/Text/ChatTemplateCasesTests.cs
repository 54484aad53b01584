using System.Text.Json.Nodes;
using ScriptedServe.Host.Text;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>Real chat templates against what Hugging Face's renderer makes of them.</summary>
public class ChatTemplateCasesTests
{
    [RequiresTheory(Need.TestData)]
    [InlineData("gemma-2")]
    [InlineData("llama-3.1")]
    [InlineData("mistral-nemo")]
    [InlineData("phi-3.5")]
    [InlineData("qwen2.5")]
    [InlineData("zephyr")]
    public void A_real_template_renders_as_Hugging_Face_does(string name)
    {
        var file = JsonNode.Parse(File.ReadAllText(TestPaths.InTestData("chat_templates", $"{name}.cases.json")))!;
        var template = ChatTemplate.Parse(
            File.ReadAllText(TestPaths.InTestData("chat_templates", file["template"]!.GetValue<string>())),
            TimeProvider.System,
            new JsonObject { ["bos_token"] = file["bos_token"]?.DeepClone(), ["eos_token"] = file["eos_token"]?.DeepClone() });
        var cases = file["cases"]!.AsArray();
        Assert.NotEmpty(cases);
        var wrong = new List<string>();
        foreach (var item in cases.Select(node => node!.AsObject()))
        {
            var actual = Render(template, item);
            var right = item["expected"] is { } expected ? actual == expected.GetValue<string>()
                : actual.StartsWith("refused: ", StringComparison.Ordinal) && actual.Contains(item["expected_error"]!.GetValue<string>(), StringComparison.Ordinal);
            if (!right)
            {
                wrong.Add($"{item["name"]}: expected {item["expected"] ?? item["expected_error"]}\ngot {actual}");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [RequiresFact(Need.TestData)]
    public void Every_real_template_parses_and_renders_a_plain_conversation()
    {
        var messages = new JsonArray(
            new JsonObject { ["role"] = "user", ["content"] = "question one" },
            new JsonObject { ["role"] = "assistant", ["content"] = "answer one" },
            new JsonObject { ["role"] = "user", ["content"] = "question two" });
        var files = Directory.GetFiles(TestPaths.InTestData("chat_templates"), "*.jinja");
        Assert.NotEmpty(files);
        Assert.All(files, file =>
        {
            // Hermes goes through the tools without asking whether there are any.
            JsonArray tools = Path.GetFileName(file).StartsWith("hermes", StringComparison.Ordinal) ? [] : null!;
            var rendered = ChatTemplate.Parse(File.ReadAllText(file), TimeProvider.System, new JsonObject { ["bos_token"] = "<s>", ["eos_token"] = "</s>" }).Render(messages, tools);
            var places = new[] { "question one", "answer one", "question two" }.Select(text => rendered.IndexOf(text, StringComparison.Ordinal)).ToArray();
            Assert.True(places[0] >= 0 && places[0] < places[1] && places[1] < places[2], rendered);
        });
    }

    [RequiresTheory(Need.TestData)]
    [InlineData("llama-f32")]
    [InlineData("mistral-f16-swa")]
    [InlineData("qwen2-bf16-sharded")]
    public void A_golden_model_s_conversations_render_to_the_prompts_it_was_run_with(string name)
    {
        var folder = TestPaths.InTestData("models", name);
        AssertRenders(folder, TestPaths.InTestData("models", $"{name}.cases.json"));
    }

    [Fact]
    public void The_built_in_model_s_conversations_render_to_the_prompts_it_was_run_with() =>
        AssertRenders(TestPaths.InRepository("engine", "models", "storyteller"), TestPaths.InRepository("tests", "data", "storyteller.cases.json"));

    private static void AssertRenders(string folder, string casesFile)
    {
        var template = ChatTemplate.Load(folder, TimeProvider.System)!;
        var chats = JsonNode.Parse(File.ReadAllText(casesFile))!["cases"]!.AsArray().Where(item => item!["messages"] is not null).ToArray();
        Assert.NotEmpty(chats);
        Assert.All(chats, item => Assert.Equal(item!["rendered"]!.GetValue<string>(), template.Render(item["messages"]!.AsArray())));
    }

    private static string Render(ChatTemplate template, JsonObject item)
    {
        string[] known = ["name", "messages", "tools", "add_generation_prompt", "expected", "expected_error", "npm_agrees"];
        var extra = new JsonObject();
        foreach (var (name, value) in item.Where(field => !known.Contains(field.Key)))
        {
            extra[name] = value?.DeepClone();
        }

        try
        {
            return template.Render(item["messages"]!.AsArray(), item["tools"]?.AsArray(), item["add_generation_prompt"]!.GetValue<bool>(), extra);
        }
        catch (ChatTemplateException error)
        {
            return $"refused: {error.Message}";
        }
    }
}
